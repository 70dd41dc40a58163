"""Deployment of a build on a board: block design, driver, samples, a mock board, and measurements."""
