"""What a restoration did, and whether to trust its result.

`records` describes a restoration as data and as a sentence, `page` as one HTML page. `residuals`
tests whether what was removed looks like noise. `pictures` draws all of it.
"""
