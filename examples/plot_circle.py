r"""
The idea in two dimensions
==========================

This is Figure 1 of Prost et al. (2021). Clean data lie on a circle and degraded data around it;
which degraded point comes from which clean point is unknown. A critic :math:`r` is trained on clean
data c, degraded data n and points i between them, with the Wasserstein criterion

.. math::

    \max_r \; E_{z \sim n}[r(z)] - E_{z \sim c}[r(z)] - \mu E_{z \sim i}[(|\nabla r(z)| - 1)^2]

It comes close to the distance to the circle: its negative gradient points to the clean data from
everywhere, and has nearly unit length, even near the circle. This makes it a regularizer.
"""

# %%
# Data and critic
# ---------------
# The critic is a small fully connected network on points of the plane. It shares only the criterion
# with the critics of image patches: `locreg.critic_loss` accepts any network. The gradient penalty
# has the weight 1 here and 5 for patches, because patches of many pixels lie further apart than
# these points. If the weight is too large, a linear function wins over the distance, since its
# gradient can have unit length everywhere.

import matplotlib.pyplot as plt

from locreg.evaluation.paper.circle import train_potential
from locreg.evaluation.paper.figures import draw_circle

potential = train_potential(iterations=1000)

# %%
# The learned potential
# ---------------------
# The colour shows r; the arrows show its negative gradient, which gradient descent follows.

draw_circle(plt.figure(figsize=(6.4, 5.4), layout="constrained"), potential)
plt.show()
