//! What a dying kernel said: log bytes in, named reports out.
