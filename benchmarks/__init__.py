"""`sacvit bench`: what a bundle gains over a plain DeiT and over other token savers, on the machine at hand."""
