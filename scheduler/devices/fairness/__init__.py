"""Who gets the next device that falls free, where several dispatchers of a machine want it."""
