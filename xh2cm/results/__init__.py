"""What comes out of a model, for people: emergent quantities, responses, scores."""
