//! Files of a stopped member with flipped bits.
