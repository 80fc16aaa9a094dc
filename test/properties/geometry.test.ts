import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { cpuModel } from '../../src/isa/cpu-grammar.ts'
import type { CpuModel } from '../../src/isa/cpu-model.ts'
import { cpuModelFacts } from '../../src/isa/cpu-models/index.ts'
import { processorCpuid } from '../../src/isa/processor-cpuid.ts'
import { compactedOffset, compactedSize, standardSize } from '../../src/isa/xstate-layout.ts'

const MODELS = cpuModelFacts.map(({ name }) => cpuModel(name))
const has = (mask: number, nr: number) => ((mask >>> nr) & 1) === 1

/** Leaf 0DH as the processor answers with these registers. */
const leaf = (model: CpuModel, subleaf: number, xcr0 = 1, xss = 0) =>
  processorCpuid(model, { apicId: 0, logicalProcessors: 1, cr4: 0, xcr0, xss, in64BitMode: true }, 0xd, subleaf)

interface Component {
  readonly nr: number
  readonly size: number
  /** In the standard format; 0 for supervisor components. */
  readonly offset: number
  readonly isSupervisor: boolean
  readonly isAligned: boolean
}

/** What the subleaves 2 to 62 say. */
function componentsOf(model: CpuModel): Component[] {
  return Array.from({ length: 61 }, (_, i) => i + 2)
    .map((nr) => ({ nr, ...leaf(model, nr) }))
    .filter(({ eax }) => eax !== 0)
    .map(({ nr, eax, ebx, ecx }) => ({ nr, size: eax, offset: ebx, isSupervisor: (ecx & 1) !== 0, isAligned: (ecx & 2) !== 0 }))
}

/** The standard format reaches to the end of its furthest component. SDM Vol. 1 13.4.2. */
const standard = (components: readonly Component[], mask: number): number =>
  Math.max(576, ...components.filter((c) => !c.isSupervisor && has(mask, c.nr)).map(({ offset, size }) => offset + size))

/** The compacted format, component after component. SDM Vol. 1 13.4.3. */
function compacted(components: readonly Component[], mask: number): { size: number; offsets: Map<number, number> } {
  const offsets = new Map<number, number>()
  let end = 576
  for (const { nr, size, isAligned } of components.filter((c) => has(mask, c.nr))) {
    if (isAligned) end = Math.ceil(end / 64) * 64
    offsets.set(nr, end)
    end += size
  }
  return { size: end, offsets }
}

describe.each(MODELS.map((model) => ({ name: model.name, model })))('$name', ({ model }) => {
  const components = componentsOf(model)
  const masks = fc.integer({ min: 0, max: 0x7fffffff })
  const allUser = (model.cpuid(0xd, 0).eax | 3) >>> 0
  const allSupervisor = model.cpuid(0xd, 1).ecx >>> 0

  test('the subleaves of leaf 0DH are those of the masks of its first two [PERM-04]', () => {
    for (const { nr, isSupervisor } of components)
      expect(has(isSupervisor ? allSupervisor : allUser, nr), `component ${nr}`).toBe(true)
    for (let nr = 2; nr < 32; nr++)
      if (has(allUser | allSupervisor, nr))
        expect(
          components.some((c) => c.nr === nr),
          `component ${nr}`,
        ).toBe(true)
  })

  test('user components lie apart from each other and from the header [PERM-05]', () => {
    const user = components.filter(({ isSupervisor }) => !isSupervisor)
    for (const a of user) {
      expect(a.offset).toBeGreaterThanOrEqual(576)
      for (const b of user) if (a.nr !== b.nr) expect(a.offset + a.size <= b.offset || b.offset + b.size <= a.offset).toBe(true)
    }
  })

  test('sizes and offsets of any set of components follow from the subleaves [PERM-05, PERM-06]', () => {
    fc.assert(
      fc.property(masks, (chosen) => {
        const [user, all] = [(chosen & allUser) >>> 0, (chosen & (allUser | allSupervisor)) >>> 0]
        expect(standardSize(model.xstate, user)).toBe(standard(components, user))
        const { size, offsets } = compacted(components, all)
        expect(compactedSize(model.xstate, all)).toBe(size)
        for (let nr = 2; nr < 32; nr++) expect(compactedOffset(model.xstate, all, nr)).toBe(offsets.get(nr) ?? -1)
      }),
      { numRuns: 200, seed: 1 },
    )
  })

  test('EBX of 0DH.0 and 0DH.1 are the sizes for XCR0 and for XCR0 with IA32_XSS [PERM-05, PERM-06, XSAVE-50]', () => {
    const compacts = (model.cpuid(0xd, 1).eax & 0xa) !== 0 || model.facts.emulator?.compactedSizeWithoutXsavec === true
    fc.assert(
      fc.property(masks, masks, (user, supervisor) => {
        const xcr0 = ((user & allUser) | 1) >>> 0
        const xss = (supervisor & allSupervisor) >>> 0
        expect(leaf(model, 0, xcr0, xss).ebx).toBe(standard(components, xcr0))
        expect(leaf(model, 0, xcr0, xss).ecx).toBe(standard(components, allUser))
        expect(leaf(model, 1, xcr0, xss).ebx).toBe(compacts ? compacted(components, xcr0 | xss).size : 0)
      }),
      { numRuns: 200, seed: 2 },
    )
  })
})
