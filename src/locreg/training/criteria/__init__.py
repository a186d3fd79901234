"""The criteria that critics are trained by, one file for each.

`wasserstein` compares unpaired patches (the paper), `denoising` trains gradient steps to denoise,
`bilevel` brings the minimisers of the energy close to clean images.
"""
