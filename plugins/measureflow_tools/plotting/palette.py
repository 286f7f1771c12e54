"""The colours of figures, films and reports: the same thing has the same colour in all of them.

Okabe and Ito's colours, which the colour-blind tell apart.
"""

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
POSITIVE, NEGATIVE = "#D55E00", "#0072B2"  # the sign of a mass
PARTICLES, DATA = "#007A5E", "#1A1A1A"
