"""The gate: may a new model take the champion's place?"""
