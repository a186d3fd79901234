"""Make the paper's tables and figures again.

`run` manages the output folder and trains what is needed, `sections` makes each table and figure,
`tables` compares our numbers with those in `printed`, and `figures` draws. `circle` is the example
in two dimensions.
"""
