//! Shamir's secret sharing over GF(256), byte by byte (Shamir 1979, "How to share a secret").
//!
//! The arithmetic is that of `vsss-rs`, which has neither tables nor branches on secrets. The polynomials are made here: they
//! are to be wiped, which that crate doesn't do with its own.

use atrest::{Error, Result, Secret};
use vsss_rs::Gf256;
use zeroize::Zeroize;

/// Splits a secret into `count` parts, any `threshold` of which restore it. The part at `n` is the value at `n + 1`.
pub(crate) fn split(secret: &Secret, threshold: usize, count: usize) -> Result<Vec<Secret>> {
    let len = secret.len();
    // Those of x, of x^2 and so on, each for all bytes. Uniform over the whole field, with zero.
    let coefficients = Secret::random((threshold - 1) * len)?;
    Ok((1..=count).map(|x| at(x as u8, secret, &coefficients)).collect())
}

/// The values at `x` of the polynomials whose coefficients these are, with the secret as that of 1.
pub(crate) fn at(x: u8, secret: &Secret, coefficients: &Secret) -> Secret {
    let mut part = Secret::zeroed(secret.len());
    for (at, byte) in part.expose_mut().iter_mut().enumerate() {
        let above = coefficients.expose().chunks(secret.len()).rev();
        let value = above.fold(Gf256(0), |sum, of| (sum + Gf256(of[at])) * Gf256(x));
        *byte = (value + Gf256(secret.expose()[at])).0;
    }
    part
}

/// Combines parts, each with its place. The result is the secret if there are enough parts of one secret.
pub(crate) fn combine(parts: &[(usize, Secret)]) -> Result<Secret> {
    let mut given: Vec<Vec<u8>> = Vec::with_capacity(parts.len());
    for (place, part) in parts {
        let mut bytes = Vec::with_capacity(1 + part.len());
        bytes.push(*place as u8 + 1);
        bytes.extend_from_slice(part.expose());
        given.push(bytes);
    }
    let combined = Gf256::combine_bytes(&given);
    given.zeroize();
    let mut combined = combined.map_err(|_| Error::UnwrapFailed)?;
    let secret = Secret::copy_from(&combined);
    combined.zeroize();
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Another multiplication of GF(256), with tables of the powers of 3 modulo x^8 + x^4 + x^3 + x + 1.
    struct Field {
        exp: [u8; 255],
        log: [usize; 256],
    }

    impl Field {
        fn new() -> Self {
            let (mut exp, mut log, mut value) = ([0; 255], [0; 256], 1u16);
            for (power, of) in exp.iter_mut().enumerate() {
                (*of, log[value as usize]) = (value as u8, power);
                value ^= value << 1;
                if value > 255 {
                    value ^= 0x11b;
                }
            }
            Field { exp, log }
        }

        fn times(&self, a: u8, b: u8) -> u8 {
            if a == 0 || b == 0 { 0 } else { self.exp[(self.log[a as usize] + self.log[b as usize]) % 255] }
        }

        fn over(&self, a: u8, b: u8) -> u8 {
            if a == 0 { 0 } else { self.exp[(255 + self.log[a as usize] - self.log[b as usize]) % 255] }
        }

        /// The value at `x` of the polynomial through points.
        fn at(&self, x: u8, points: &[(u8, u8)]) -> u8 {
            points.iter().fold(0, |sum, &(xi, yi)| {
                let others = points.iter().filter(|(xj, _)| *xj != xi);
                sum ^ others.fold(yi, |term, (xj, _)| self.over(self.times(term, x ^ xj), xi ^ xj))
            })
        }
    }

    fn subsets(count: usize) -> impl Iterator<Item = Vec<usize>> {
        (0..1_usize << count).map(move |set| (0..count).filter(|at| set >> at & 1 == 1).collect())
    }

    #[test]
    fn enough_parts_give_the_secret_by_this_and_by_another_arithmetic() {
        let field = Field::new();
        for (threshold, count) in [(2, 2), (2, 3), (3, 5), (4, 4), (5, 7)] {
            let secret = Secret::random(32).unwrap();
            let parts = split(&secret, threshold, count).unwrap();
            for subset in subsets(count).filter(|subset| subset.len() >= threshold) {
                let chosen: Vec<_> = subset.iter().map(|&at| (at, Secret::copy_from(parts[at].expose()))).collect();
                assert!(combine(&chosen).unwrap() == secret, "{threshold} of {count}: {subset:?}");
                for (byte, &wanted) in secret.expose().iter().enumerate() {
                    let points: Vec<_> = subset.iter().map(|&at| (at as u8 + 1, parts[at].expose()[byte])).collect();
                    assert_eq!(field.at(0, &points), wanted);
                    // No part has more to say than the polynomial has degrees.
                    for (at, part) in parts.iter().enumerate() {
                        assert_eq!(field.at(at as u8 + 1, &points), part.expose()[byte]);
                    }
                }
            }
        }
    }

    #[test]
    fn one_part_fewer_says_nothing() {
        // With one part fewer than the threshold, each value of a byte of the secret fits exactly one missing part.
        let field = Field::new();
        let parts = split(&Secret::random(16).unwrap(), 3, 4).unwrap();
        for byte in 0..16 {
            let mut fits = std::collections::BTreeSet::new();
            for guess in 0..=255 {
                let points = [(0, guess), (1, parts[0].expose()[byte]), (2, parts[1].expose()[byte])];
                fits.insert(field.at(3, &points));
            }
            assert_eq!(fits.len(), 256);
        }
    }

    #[test]
    fn coefficients_are_uniform_with_zero() {
        // The top coefficient of a polynomial of degree 1 is the sum of its value at 1 and the secret.
        let secret = Secret::zeroed(4096);
        let parts = split(&secret, 2, 2).unwrap();
        let mut seen = [0; 256];
        parts[0].expose().iter().for_each(|&byte| seen[byte as usize] += 1);
        // 16 each on average.
        assert!(seen[0] > 0 && seen.iter().all(|&count| count < 60), "{seen:?}");
    }
}
