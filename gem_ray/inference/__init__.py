"""Using a trained model: a plain torch object, its pictures, its codes for whole data sets, its export."""
