"""Writers: results as text, pictures or arrays on a stream."""
