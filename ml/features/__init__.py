"""The catalogue of features, the schema that names them, and the pipeline that computes them."""
