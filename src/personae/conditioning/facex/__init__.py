"""FaceX's facial representation: its tokens, what is assembled from faces, and the network that carries it in."""
