"""From an observation y to a restored image x.

`restore` is the algorithm, and `tasks` applies it to deblurring, inpainting and upscaling.
`options` holds what a user may choose. `defaults` chooses the solver, its steps and lam for given
weights; `choose_lam` finds lam for one image. `restore_files` restores files and folders:
`file_tasks` says what to do to each image, and `jobs` plans what to read and write.
"""
