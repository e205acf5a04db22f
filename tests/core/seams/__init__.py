"""A second implementation of each seam: what shows that the seam is one. Each is the plainest that passes its contract."""
