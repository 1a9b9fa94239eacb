"""The main job: learn to predict real text byte by byte and a real series year by year, beside honest baselines."""
