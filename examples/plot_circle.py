r"""
The idea in two dimensions
==========================

Figure 1 of Prost et al. (2021). Clean data lie on a circle, degraded data around it, and nothing
says which degraded point came from which clean one. A critic trained with the Wasserstein criterion

.. math::

    \max_r \; E_{z \sim n}[r(z)] - E_{z \sim c}[r(z)] - \mu E_{z \sim i}[(|\nabla r(z)| - 1)^2]

becomes close to the distance to the circle: minus its gradient points to the clean data from
everywhere, with nearly unit length, also near the circle. This is what makes it a regularizer.
"""

# %%
# Data and critic
# ---------------
# The critic is a small fully connected network on points of the plane. Only the criterion is shared
# with the critics of image patches: `locreg.wgan.critic_loss` takes any network. The penalty's
# weight is 1 here and 5 there, since patches of many pixels lie further apart than these points do;
# with too large a weight a plane, whose gradient has unit length everywhere, beats the distance.

import matplotlib.pyplot as plt

from locreg.circle import train_potential
from locreg.paper_figures import draw_circle

potential = train_potential(iterations=1000)

# %%
# The learned potential
# ---------------------
# Colour is r; arrows are minus its gradient, the way that gradient descent goes.

draw_circle(plt.figure(figsize=(6.4, 5.4), layout="constrained"), potential)
plt.show()
