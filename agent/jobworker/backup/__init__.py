"""Write the state folder of an agent into one file, while the agent runs or not, and make a state folder of it."""
