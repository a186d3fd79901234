"""From folders of images to weight files.

`options` and `recipes` say what to train and how. `loop` trains a critic by any of the `criteria`,
and `output` keeps the log, the checkpoint and the record of a run. The pipelines are
`train_critic`, `train_denoiser`, `refine`, `learn_damage` and `learn_from_folders`;
`import_localreg` converts released weights. `validation` measures a critic, `calibration` fits lam.
"""
