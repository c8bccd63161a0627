"""The looks by name: weights of text and face that the paper found to give them. Brings no torch.

`guidance_weights.LOOKS` holds the same as `GuidanceWeights`.
"""

from typing import Any

# Face0's (arXiv 2306.06638, section 3.4): c = 1; 0.4 < c < 0.7, a = 0; c = 1.4, a = 1.
LOOKS: dict[str, dict[str, Any]] = {
    "photo": {"both": 1.0},
    "stylised": {"both": 0.55, "text": 0.45},
    "painting": {"both": 1.4, "face": -0.4},
}
