"""The command line: parse, call, show. No mathematics.

`main` is the entry point. Each command is a class: `restore` holds denoise, deblur, inpaint and
upscale; `two_folders` holds `locreg restore`; `train` holds all trainings; `inspect` holds score
and info; `evaluate` and `reproduce` (with fit-epll) hold the rest. `settings` defines the options
that commands share, `console` progress bars and messages.
"""
