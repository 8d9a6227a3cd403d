"""`sacvit bench`: speed of a bundle against a plain DeiT and token-reduction baselines, on the machine at hand."""
