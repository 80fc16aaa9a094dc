import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { imageFeatures, shownFeatures } from '../../scripts/fuzz/facts.ts'
import { Random } from '../../scripts/fuzz/random.ts'
import { expectedImage, loadable } from './expected-image.ts'
import { components, firstDifference, make, situations, withSubject } from './subjects.ts'

const noise = (seed: number) => new Random(seed).fill(new Uint8Array(12288))
const seeds = fc.integer({ min: 1, max: 0x7fffffff })
const EINVAL = 22
const runs = { numRuns: 250, seed: 1 }

describe('images of any vCPU, on every kernel profile and processor model', () => {
  test('what KVM_SET_XSAVE loads KVM_GET_XSAVE2 gives back, component by component, whatever the form of the kernel buffer [XSAVE-04, XSAVE-05, XSAVE-06, XSAVE-07, XSAVE-08, XSAVE-09, XSAVE-10, XSAVE-11, XSAVE-22, XSAVE-23, XSAVE-58, PERM-06]', () => {
    fc.assert(
      fc.property(situations, components, seeds, (situation, bv, seed) =>
        withSubject(situation, (subject) => {
          const { facts } = subject
          const image = loadable(facts, noise(seed), bv, imageFeatures(facts))
          expect(subject.setImage(image)).toBe(0)
          expect(firstDifference(subject.getImage(), expectedImage(facts, image))).toBe(-1)
        }),
      ),
      runs,
    )
  })

  test('GET, SET, GET gives the same image [XSAVE-21, XSAVE-22, XSAVE-23, XSAVE-36]', () => {
    fc.assert(
      fc.property(situations, components, seeds, fc.boolean(), (situation, supplied, seed, hasRun) =>
        withSubject(situation, (subject) => {
          const { facts } = subject
          expect(subject.setImage(loadable(facts, noise(seed), supplied, imageFeatures(facts)))).toBe(0)
          if (hasRun) make(subject, { call: 'run' })
          const got = subject.getImage()
          // A kernel that does not trim shows what its host has in use, and takes back what a guest could have (XSAVE-17, -34).
          const bv = new DataView(got.buffer).getBigUint64(512, true)
          const isLoadable = (bv & ~BigInt(facts.host.kvmXcr0 >>> 0)) === 0n
          if (!isLoadable) expect(shownFeatures(facts) & ~facts.host.kvmXcr0).not.toBe(0)
          expect(subject.setImage(got)).toBe(isLoadable ? 0 : -EINVAL)
          if (isLoadable) expect(firstDifference(subject.getImage(), got)).toBe(-1)
        }),
      ),
      runs,
    )
  })

  test('a component that the guest lacks never leaves through a GET that trims, loaded or left by the host [XSAVE-06, XSAVE-26, XSAVE-27, GFPU-20]', () => {
    fc.assert(
      fc.property(situations, components, seeds, (situation, bv, seed) =>
        withSubject(situation, (subject) => {
          const { facts } = subject
          expect(subject.setImage(loadable(facts, noise(seed), bv, imageFeatures(facts)))).toBe(0)
          for (let ran = 0; ran < 2; ran++) {
            const got = subject.getImage()
            const shown = new DataView(got.buffer).getBigUint64(512, true)
            expect(shown & ~BigInt(shownFeatures(facts) >>> 0)).toBe(0n)
            for (const { nr, offset, size } of facts.host.components)
              if (((shown >> BigInt(nr)) & 1n) === 0n)
                expect(got.subarray(offset, offset + size).every((b) => b === 0)).toBe(true)
            // A real KVM_RUN saves the host's PKRU bit with the guest's image.
            make(subject, { call: 'run' })
          }
        }),
      ),
      { ...runs, numRuns: 100 },
    )
  })

  test('an image without PKRU leaves the PKRU of the vCPU alone [XSAVE-24]', () => {
    fc.assert(
      fc.property(situations, seeds, (situation, pkru) =>
        withSubject({ ...situation, xcr0: 0x207n }, (subject) => {
          const { facts } = subject
          const place = facts.host.components.find(({ nr }) => nr === 9)
          if (place === undefined || (facts.host.kvmXcr0 & 0x200) === 0) return
          const image = new Uint8Array(facts.uabiSize)
          const view = new DataView(image.buffer)
          view.setUint32(place.offset, pkru, true)
          view.setUint32(512, 0x200, true)
          view.setUint32(24, 0x1f80, true)
          expect(subject.setImage(image)).toBe(0)
          view.setUint32(512, 0, true)
          view.setUint32(place.offset, 0x11111111, true)
          expect(subject.setImage(image)).toBe(0)
          // The next save marks PKRU in use where the host thread's own is not 0: every profile's default.
          make(subject, { call: 'run' })
          const got = new DataView(subject.getImage().buffer)
          expect(got.getUint32(512, true) & 0x200).toBe(0x200)
          expect(got.getUint32(place.offset, true)).toBe(pkru)
        }),
      ),
      { ...runs, numRuns: 40 },
    )
  })
})
