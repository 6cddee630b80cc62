"""What is learned of the models: outcomes, scores, drift, and when to train anew."""
