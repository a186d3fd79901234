"""Measure how good a method is, compared with other methods and with the paper.

`evaluate` measures every method on every image; `options` says which ones, and `simulation`
degrades the images. `methods` finds methods by name: locreg with any weights, or one of its peers
in `baselines` and `epll`. `measurements` keeps the results in a CSV file and `tables` summarises
them. `lpips` is a metric. `paper` remakes the paper's tables and figures.
"""
