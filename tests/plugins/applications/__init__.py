"""Sites in the frameworks that people use, each with the same pages: test_wsgi_applications.py serves them."""
