import { describe, expect, it } from 'vitest'
import { cpuModel, cpuModelsWith, listCpuModels, parseCpuSpec } from '../../src/isa/cpu-grammar.ts'
import { editDistance, nearestNames, UserError } from '../../src/isa/user-error.ts'

const refusal = (spec: string): UserError => {
  try {
    parseCpuSpec(spec)
  } catch (error) {
    expect(error).toBeInstanceOf(UserError)
    return error as UserError
  }
  throw new Error(`${spec} was accepted`)
}

describe('a bare model name', () => {
  it('is the model, every time the same object', () => {
    for (const { name } of listCpuModels()) expect(parseCpuSpec(name)).toBe(cpuModel(name))
  })

  it('is case sensitive, and an unknown one names its neighbours', () => {
    const e = refusal('SapphireRapid')
    expect(e.code).toBe('unknown-cpu-model')
    expect(e.nearest[0]).toBe('SapphireRapids')
    expect(e.where).toBe('--cpu')
    expect(e.message).toContain('SapphireRapids')
    expect(refusal('sapphirerapids').nearest[0]).toBe('SapphireRapids')
    expect(refusal('SapphireRapids-v1').nearest).toContain('SapphireRapids')
    expect(refusal('genoa').nearest).toEqual(['EPYC-Genoa'])
  })

  it('far from every name gets the whole list', () => {
    const e = refusal('z80')
    expect(e.nearest).toEqual([])
    expect(e.fix).toContain('Skylake-Server')
  })

  it('may not be empty', () => {
    expect(refusal('').code).toBe('unknown-cpu-model')
    expect(refusal(',+avx').code).toBe('unknown-cpu-model')
  })
})

describe('taking features away', () => {
  it('-amx-tile removes components 17 and 18, leaves 1DH and 1EH and the tile instructions', () => {
    const m = parseCpuSpec('SapphireRapids,-amx-tile')
    expect(m.xcr0Supported).toBe(0x2e7)
    expect(m.cpuid(0xd, 0).ecx).toBe(2696)
    expect([m.cpuid(0x1d, 1).eax, m.cpuid(0x1e, 0).ebx]).toEqual([0, 0])
    for (const f of ['amx-tile', 'amx-int8', 'amx-bf16'] as const) expect(m.has(f)).toBe(false)
    expect(m.has('xfd')).toBe(true)
    expect(cpuModel('SapphireRapids').has('amx-tile')).toBe(true)
  })

  it.each([
    ['-avx512f', 0x60207, 0x9c00],
    ['-pku', 0x600e7, 0x9c00],
    ['-avx', 0x60203, 0x9c00],
    ['-xsaves', 0x602e7, 0],
    ['-xsave', 0, 0],
    ['-enqcmd', 0x602e7, 0x9800],
    ['-shstk', 0x602e7, 0x9c00],
    ['-shstk,-ibt', 0x602e7, 0x8400],
    ['-arch-lbr', 0x602e7, 0x1c00],
    ['-amx-int8', 0x602e7, 0x9c00],
  ])('SapphireRapids,%s: XCR0 0x%s, XSS 0x%s', (change, xcr0, xss) => {
    const m = parseCpuSpec(`SapphireRapids,${change}`)
    expect([m.xcr0Supported, m.xssSupported]).toEqual([xcr0, xss])
  })

  it('-xsave empties leaf 0DH and takes AVX along', () => {
    const m = parseCpuSpec('SapphireRapids,-xsave')
    for (let sub = 0; sub < 20; sub++) expect(m.cpuid(0xd, sub)).toEqual({ eax: 0, ebx: 0, ecx: 0, edx: 0 })
    for (const f of ['avx', 'avx512f', 'pku', 'amx-tile', 'xsavec'] as const) expect(m.has(f)).toBe(false)
  })

  it('-xfd leaves XTILE_DATA but nothing can disable it', () => {
    const m = parseCpuSpec('SapphireRapids,-xfd')
    expect(m.xstate.xfdMask).toBe(0)
    expect(m.cpuid(0xd, 18).ecx).toBe(2)
  })

  it('-la57 narrows the linear address in leaf 80000008H too', () => {
    const m = parseCpuSpec('SapphireRapids,-la57')
    expect([m.linearAddrBits, (m.cpuid(0x80000008, 0).eax >> 8) & 255]).toEqual([48, 48])
  })

  it('-core-capability removes MSR_IA32_CORE_CAPS; -split-lock-detect only its bit', () => {
    expect(parseCpuSpec('SapphireRapids,-core-capability').msrs.has(0xcf)).toBe(false)
    const m = parseCpuSpec('SapphireRapids,-split-lock-detect')
    expect([m.msrs.get(0xcf), m.splitLockDetect]).toEqual([0n, false])
  })

  it('taking what the model lacks changes nothing', () => {
    expect(parseCpuSpec('Skylake-Server,-amx-tile').xcr0Supported).toBe(0x2e7)
  })

  it('AMD: a feature of 1.EDX leaves 80000001H.EDX as well', () => {
    const m = parseCpuSpec('EPYC-Genoa,-mmx')
    expect((m.cpuid(0x80000001, 0).edx >> 23) & 1).toBe(0)
  })
})

describe('adding features', () => {
  it('+amx-complex on Granite Rapids sets one bit', () => {
    const m = parseCpuSpec('GraniteRapids,+amx-complex')
    expect(m.has('amx-complex')).toBe(true)
    expect(m.cpuid(7, 1).edx).toBe(cpuModel('GraniteRapids').cpuid(7, 1).edx | (1 << 8))
  })

  it('+amx-tile on Skylake brings geometry, leaves and a higher maximum leaf', () => {
    const m = parseCpuSpec('Skylake-Server,+amx-tile,+amx-int8,+xfd')
    expect(m.xcr0Supported).toBe(0x602e7)
    expect(m.cpuid(0xd, 18)).toMatchObject({ eax: 8192, ebx: 2816, ecx: 6 })
    expect(m.maxBasicLeaf).toBe(0x1e)
    expect(m.cpuid(0x1d, 1).eax).toBe(0x04002000)
  })

  it('AMX on an EPYC is refused: nobody knows where its state would lie', () => {
    const e = refusal('EPYC-Genoa,+amx-tile')
    expect(e.code).toBe('cpu-feature-without-state')
    expect(e.fix).toContain('SapphireRapids')
  })

  it('a feature without its base is refused, with what to add', () => {
    const e = refusal('EPYC-Milan,+avx512vl')
    expect([e.code, e.nearest]).toEqual(['cpu-feature-needs-another', ['avx512f']])
    expect(parseCpuSpec('EPYC-Milan,+avx512f,+avx512vl').xcr0Supported).toBe(0x2e7)
    expect(refusal('SapphireRapids,-avx,+avx2').because).toContain('taken away')
  })

  it.each(['+vmx-ept', '-kvm-pv-eoi', 'kvmclock=off', '+sgx1', 'xstore'])(
    "%s is QEMU's but no chip of ours can carry it",
    (flag) => {
      expect(refusal(`SapphireRapids,${flag}`).code).toBe('cpu-feature-not-modelled')
    },
  )

  it('run-time bits cannot be set', () => {
    expect(refusal('SapphireRapids,+osxsave').code).toBe('cpu-feature-is-runtime')
  })
})

describe('spelling', () => {
  it.each([
    'SapphireRapids,amx-tile=off',
    'SapphireRapids,amx_tile=off',
    'SapphireRapids,amx-tile=no',
    'SapphireRapids, -amx-tile',
    'SapphireRapids,-amx_tile',
    'SapphireRapids,+amx-tile,-amx-tile',
    'SapphireRapids,-amx-tile,+amx-tile',
    'SapphireRapids,-amx-tile,amx-tile=on',
  ])('%s takes AMX away (- comes last, whatever the order)', (spec) => {
    expect(parseCpuSpec(spec).has('amx-tile')).toBe(false)
  })

  it.each([
    'GraniteRapids,amx-complex',
    'GraniteRapids,amx-complex=on',
    'GraniteRapids,+amx_complex',
    'GraniteRapids,amx-complex=off,+amx-complex',
  ])('%s adds AMX-COMPLEX', (spec) => {
    expect(parseCpuSpec(spec).has('amx-complex')).toBe(true)
  })

  it.each([
    ['SapphireRapids,-amx-tiel', 'amx-tile'],
    ['SapphireRapids,+avx512', 'avx512f'],
    ['SapphireRapids,+pkru', 'pku'],
    ['SapphireRapids,phys-bit=40', 'phys-bits'],
  ])('%s: nearest is %s', (spec, nearest) => {
    const e = refusal(spec)
    expect(e.code).toBe('unknown-cpu-feature')
    expect(e.nearest).toContain(nearest)
  })

  it.each([
    'SapphireRapids,',
    'SapphireRapids,,+avx',
    'SapphireRapids,amx-tile=maybe',
    'SapphireRapids,phys-bits=99',
    'SapphireRapids,phys-bits=x',
    'SapphireRapids,level=-1',
  ])('%s cannot be read', (spec) => {
    expect(refusal(spec).code).toBe('bad-cpu-item')
  })

  it('properties: phys-bits, tsc-frequency, level, stepping, model-id', () => {
    const m = parseCpuSpec('SapphireRapids,phys-bits=52,tsc-frequency=1000000000,stepping=4,model-id=Test CPU')
    expect([m.maxPhysAddr, m.tscKhz, m.stepping, m.brand]).toEqual([52, 1_000_000, 4, 'Test CPU'])
    expect(parseCpuSpec('Icelake-Server,level=0x20').maxBasicLeaf).toBe(0x20)
    expect(m.spec).toContain('phys-bits=52')
    expect(m.name).toBe('SapphireRapids')
  })
})

describe('who has a feature', () => {
  it('AMX: the two newest Xeons and the recorded one', () => {
    expect(cpuModelsWith('amx-tile')).toEqual(['GraniteRapids', 'SapphireRapids', 'SapphireRapids-bochs'])
  })
})

describe('nearest names', () => {
  it.each([
    ['', '', 0],
    ['abc', 'abc', 0],
    ['abc', 'acb', 1],
    ['abc', 'ab', 1],
    ['kitten', 'sitting', 3],
  ])('distance of %s and %s is %i', (a, b, d) => {
    expect(editDistance(a, b)).toBe(d)
    expect(editDistance(b, a)).toBe(d)
  })

  it('gives at most three, nearest first', () => {
    expect(nearestNames('avx51f', ['avx512f', 'avx', 'avx512cd', 'avx512dq'])[0]).toBe('avx512f')
    expect(nearestNames('qqqqqq', ['avx512f'])).toEqual([])
  })
})
