"""The paper's experiments on any pairs: variants trained with one budget, evaluated, and compared."""
