/**
 * Seeded random numbers of one modelled host: getrandom, AT_RANDOM, /dev/urandom. xoshiro128** (Blackman and Vigna), seeded by
 * splitmix32. The same seed gives the same bytes.
 */
export class SeededRandom {
  private readonly state = new Uint32Array(4)

  constructor(seed: number) {
    let x = seed >>> 0
    for (let i = 0; i < 4; i++) {
      x = (x + 0x9e3779b9) >>> 0
      let z = x
      z = Math.imul(z ^ (z >>> 16), 0x21f0aaad)
      z = Math.imul(z ^ (z >>> 15), 0x735a2d97)
      this.state[i] = z ^ (z >>> 15)
    }
  }

  /** 32 random bits. */
  next(): number {
    const s = this.state
    const product = Math.imul(s[1], 5)
    const result = Math.imul((product << 7) | (product >>> 25), 9)
    const t = s[1] << 9
    s[2] ^= s[0]
    s[3] ^= s[1]
    s[1] ^= s[2]
    s[0] ^= s[3]
    s[2] ^= t
    s[3] = (s[3] << 11) | (s[3] >>> 21)
    return result >>> 0
  }

  fill(bytes: Uint8Array): Uint8Array {
    for (let i = 0; i < bytes.length; i++) bytes[i] = this.next() >>> 24
    return bytes
  }
}
