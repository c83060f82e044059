"""The paper's experiments on any pairs: variants trained under one budget, measured, and shown side by side."""
