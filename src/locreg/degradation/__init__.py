"""How images are degraded, y = A x + n: the operators A and the noise n.

`operators` defines and checks the interface of A; `deepinv_operators` sets up deepinv's operators
for photographs, with blur kernels from `kernels`. `noise` adds white noise, and `estimate_noise`
measures its level in an image. `learned_noise` learns any other noise from a folder of images.
"""
