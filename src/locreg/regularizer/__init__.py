"""The critic r, the regularizer R (the sum of r over all patches), and the file that holds both.

`critic` defines r, `ridge` builds a ridge critic, and `activations` has their nonlinearities.
`local_regularizer` is R; its gradient comes from `tiled_gradient` or `fourier_gradient`, and
`borders` mirrors the image. `weights` reads and writes weight files, `criterion_record` holds what
they say of the training criterion, and `packaged` names the files that come with locreg.

Without PyTorch, `stored_weights` reads the same files, and `onnx_gradient` computes the gradient by
the graph of `onnx_graph`; `layers`, `tiles` and `mirror` serve both.
"""
