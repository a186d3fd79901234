"""The energy E(x) = 1/2 |Ax - y|^2 + lam R(x), and the algorithms that minimise it.

`objective` evaluates the energy, `options` has the options of all solvers, `solution` has what they
return, and `registry` lists them. The algorithms are in `first_order`, `lbfgs` and
`noise_conditioned`. `search` finds the best value of a single parameter, such as lam.
"""
