"""What reports and comparisons are made of: results read strictly, rows, caveats, pictures, pages."""
