"""Regular packages, so that no package of these names that is installed somewhere stands before them."""
