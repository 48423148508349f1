//! The field of POLYVAL (RFC 8452, 3): 128 bits modulo x^128 + x^127 + x^126 + x^121 + 1, with the product a b x^-128.

use super::vector::Vector;

/// x^127 + x^126 + x^121, divided by x^64.
const REDUCE: u128 = 0xc200_0000_0000_0000;

/// A sum of products, not reduced. Each lane has three parts of 128 bits, which overlap by 64 bits.
pub(super) struct Products<V>([V; 3]);

impl<V: Vector> Products<V> {
    /// The products of the lanes.
    #[inline(always)]
    pub(super) fn new(a: V, b: V) -> Self {
        let middle = a.multiply_high(b).xor(a.multiply_low_by_high(b));
        Products([a.multiply_low(b), middle, a.multiply_high_by_high(b)])
    }

    /// Adds the products of the lanes.
    #[inline(always)]
    pub(super) fn add(&mut self, a: V, b: V) {
        let [low, middle, high] = self.0;
        let middle = middle.xor3(a.multiply_high(b), a.multiply_low_by_high(b));
        self.0 = [low.xor(a.multiply_low(b)), middle, high.xor(a.multiply_high_by_high(b))];
    }

    /// The sum of all lanes, reduced to one element.
    #[inline(always)]
    pub(super) fn reduce(self) -> V::One {
        let [low, middle, high] = self.0;
        let (low, middle, high) = (low.fold(), middle.fold(), high.fold());
        // SAFETY: there is a vector, so the CPU has its instructions.
        let (zero, reduce) = unsafe { (V::One::number(0), V::One::number(REDUCE)) };
        let low = low.xor(middle.low_to_high(zero));
        let high = high.xor(middle.high_to_low(zero));
        // Montgomery's reduction, 64 bits at a time.
        let low = low.swap_halves().xor(low.multiply_low(reduce));
        low.swap_halves().xor3(low.multiply_low(reduce), high)
    }
}

/// a b x^-128
#[inline(always)]
pub(super) fn dot<V: Vector<One = V>>(a: V, b: V) -> V {
    Products::new(a, b).reduce()
}
