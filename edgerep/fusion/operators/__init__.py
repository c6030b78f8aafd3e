"""What each call means in the algebra."""
