import { describe, expect, test } from 'vitest'
import { randomStep } from '../../scripts/fuzz/generate.ts'
import { Random } from '../../scripts/fuzz/random.ts'
import { Subject } from '../../scripts/fuzz/subject.ts'
import { stateDigest } from '../../src/machine/state-digest.ts'
import { hostOf } from './subjects.ts'

const WANTED = 40
const MOST_STEPS = 1000

describe('a refused call', () => {
  // The first time it may leave its errno in a register and its argument in memory; the second time nothing is left to change.
  test.each([
    ['SapphireRapids', 'linux-6.12'],
    ['SapphireRapids-bochs', 'linux-5.17'],
    ['qemu-tcg-max', 'linux-5.15'],
    ['EPYC-Genoa', 'linux-6.18'],
  ])('made again changes no byte of the machine, on %s with %s [XSAVE-21, GFPU-43]', (cpu, kernel) => {
    const host = hostOf(cpu, kernel)
    const subject = new Subject(host, { permission: true, irqchip: false })
    const random = new Random(3)
    const digest = () => stateDigest(host.machine, host.kernel.pages.touched)
    let refused = 0
    for (let i = 0; i < MOST_STEPS && refused < WANTED; i++) {
      const step = randomStep(random)
      if (step.call === 'run' || (step.call === 'raw' && random.chance(60))) continue
      if (subject.make(step) >= 0) continue
      refused++
      const before = digest()
      expect(subject.make(step)).toBeLessThan(0)
      expect(
        digest(),
        JSON.stringify(step, (_k, v) => (typeof v === 'bigint' ? `${v}` : v)),
      ).toBe(before)
    }
    expect(refused).toBe(WANTED)
    // One that is accepted does.
    const before = digest()
    expect(subject.make({ call: 'KVM_SET_XSAVE', base: 'zero', bv: 3n, patches: [{ at: 0, bytes: [1] }], at: 'memory' })).toBe(0)
    expect(digest()).not.toBe(before)
    subject.end()
  })
})
