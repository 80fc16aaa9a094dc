import { describe, expect, test } from 'vitest'
import { compare } from '../../../src/tools/compare/compare.ts'
import { readScenarioFile } from '../../../src/tools/compare/scenario-file.ts'
import { compareScenario, compareScenarios } from '../../../src/tools/compare/scenarios/index.ts'
import { comparisonTable } from '../../../src/tools/compare/table.ts'
import { icedModule } from '../../machine/bare-host.ts'

const decoder = icedModule()

/** Results of a scenario: `results(name).of('KVM_SET_XSAVE', 'linux-5.17')`. */
function results(name: string, profiles?: readonly string[]) {
  const scenario = compareScenario(name)
  const found = compare(scenario, { profiles: profiles ?? scenario.profiles, cpu: scenario.cpu, decoder })
  return {
    found,
    of: (what: string, profile: string, occurrence = 0) => {
      const row = found.rows.filter((r) => r.what === what)[occurrence]
      if (row === undefined) throw new Error(`no row ${what}: ${found.rows.map((r) => r.what).join(' | ')}`)
      return row.results[found.profiles.indexOf(profile)]
    },
  }
}

describe('permission bookkeeping', () => {
  test('prctl shows the same before and after the correction; the kernel keeps supervisor bits only after it [PERM-59]', () => {
    const { of, found } = results('amx-request')
    expect(found.rows.filter((row) => row.what.startsWith('ARCH_') && row.differs)).toEqual([])
    expect(of('ARCH_GET_XCOMP_PERM', 'linux-6.12', 1)).toBe('0x602e7')
    expect(of('host record inside the kernel', 'linux-6.12', 1)).toContain('state_perm=0x602e7')
    expect(of('host record inside the kernel', 'linux-6.18', 1)).toContain('state_perm=0x60ee7')
  })
  test('a second dynamic component makes the guest buffer 16 bytes too small before it [PERM-60]', () => {
    const { of } = results('second-dynamic-feature')
    const after = (profile: string) => of('guest record after the request for 20', `proposal:perm-bookkeeping-${profile}`)
    expect(after('before')).toContain('kernel_size=9288')
    expect(after('fixed')).toContain('kernel_size=9304')
    expect(of('kernel log', 'proposal:perm-bookkeeping-fixed')).toBe('silent')
    expect(of('kernel log', 'proposal:perm-bookkeeping-before')).not.toBe('silent')
  })
  test('a locked record refuses before the store that would clear the flag [PERM-61]', () => {
    const { of } = results('locked-bit')
    for (const profile of ['before', 'fixed'])
      expect(of('guest record after a second request', `proposal:perm-bookkeeping-${profile}`)).toContain('LOCKED=true')
  })
  test('permission ignored: nobody comes too late, everything is offered, nothing is EPERM [PERM-66]', () => {
    const { of } = results('vcpu-after-lock')
    expect(of('ARCH_REQ_XCOMP_GUEST_PERM 18', 'linux-6.12')).toMatch(/^EBUSY.*PERM-23/)
    expect(of('KVM_SET_CPUID2 with XTILE_DATA', 'linux-6.12')).toMatch(/^EPERM.*GFPU-39/)
    expect(of('KVM_CHECK_EXTENSION(KVM_CAP_XSAVE2)', 'proposal:guest-perm-ignored')).toBe('11008')
    expect(of('KVM_SET_CPUID2 with XTILE_DATA', 'proposal:guest-perm-ignored')).toBe('ok')
  })
  test('a thread’s request is the process’s, and a child has the lock too [PERM-24, PERM-25]', () => {
    const { of } = results('wrong-thread')
    expect(of('its leader reads ARCH_GET_XCOMP_GUEST_PERM', 'linux-6.12')).toBe('0x602e7')
    expect(of('a child of a VMM without permission asks for guest permission', 'linux-6.12')).toMatch(/^EBUSY/)
  })
})

describe('KVM_SET_XSAVE', () => {
  test('5.16 leaks the host’s PKRU; later kernels trim [XSAVE-34]', () => {
    const { of } = results('host-pkru-leak')
    expect(['linux-5.16', 'linux-5.17', 'linux-6.12'].map((p) => of('PKRU is in the image', p))).toEqual([
      'true',
      'false',
      'false',
    ])
  })
  test('M1 and M2: refused by 5.17, taken and trimmed by 6.12 [XSAVE-33, XSAVE-35, XSAVE-36]', () => {
    const { of } = results('feature-the-guest-never-had')
    expect(of('here: KVM_SET_XSAVE', 'linux-5.17')).toMatch(/^EINVAL/)
    expect(of('here: KVM_SET_XSAVE', 'linux-6.12')).toBe('ok')
    expect(of('third host, which has no protection keys: KVM_SET_XSAVE', 'linux-6.12')).toBe('ok')
    expect(of('third host, which has no protection keys: KVM_SET_XSAVE', 'linux-5.16')).toMatch(/^EINVAL/)
  })
  test('M3: a host without the component refuses, until the VMM clears the bit; the silent drop takes it [XSAVE-37]', () => {
    const { of } = results('host-without-the-feature')
    expect(of('leaked image: KVM_SET_XSAVE', 'linux-6.12')).toMatch(/^EINVAL.*XSAVE-17/)
    expect(of('the VMM cleared the bit: KVM_SET_XSAVE', 'linux-6.12')).toBe('ok')
    expect(of('leaked image: KVM_SET_XSAVE', 'proposal:set-xsave-silent-drop')).toBe('ok')
  })
  test('M5 and M6: what is refused today would be lost with the silent drop [XSAVE-36]', () => {
    const { of } = results('lost-feature')
    expect(of('B: KVM_SET_XSAVE', 'linux-6.12')).toMatch(/^EINVAL/)
    expect(of('B: KVM_SET_XSAVE', 'proposal:set-xsave-silent-drop')).toBe('ok')
    expect(of('B: KVM_GET_XSAVE', 'proposal:set-xsave-silent-drop')).not.toContain('ZMM_Hi256')
  })
})

describe('guest reallocation', () => {
  test('merged: everything at KVM_SET_CPUID2; both proposals: when the guest asks, and the guest ends the same way [GFPU-36, GFPU-39]', () => {
    const { of, found } = results('guest-reallocation')
    for (const profile of found.profiles) expect(of('components in use at the end', profile)).toContain('XTILE_DATA')
    expect(of('bytes of the vCPU image after KVM_SET_CPUID2', 'linux-5.17')).toBe('10752')
    for (const profile of ['proposal:fpu-realloc-exit', 'proposal:fpu-realloc-inline']) {
      expect(Number(of('bytes of the vCPU image after KVM_SET_CPUID2', profile))).toBeLessThan(3000)
      expect(of('bytes of the vCPU image at the end', profile)).toBe('10752')
    }
    const calls = found.profiles.map((profile) => Number(of('guest to its end: KVM_RUN calls', profile)))
    expect(calls[0]).toBeGreaterThan(calls[1])
    expect(calls[1]).toBe(calls[2])
  })
  test('who forgot to ask is told by KVM_SET_CPUID2 in the merged design only [GFPU-39, GFPU-36]', () => {
    const { of } = results('no-permission')
    expect(of('KVM_SET_CPUID2 with XTILE_DATA', 'linux-5.17')).toMatch(/^EPERM/)
    expect(of('KVM_SET_CPUID2 with XTILE_DATA', 'proposal:fpu-realloc-inline')).toBe('ok')
  })
  test('IA32_XFD written over live tile data oopses linux-6.12 [GFPU-53]', () => {
    const { of } = results('host-xfd-write', ['linux-6.12'])
    expect(of('KVM_RUN', 'linux-6.12')).toMatch(/unexpected #NM/)
    expect(of('kernel log', 'linux-6.12')).toMatch(/Oops/)
  })
})

describe('CET supervisor state', () => {
  const [K, M, LAZY, G] = compareScenario('idle-tasks').profiles
  test('kernel-wide costs every task 24 bytes, the others none [CET-42, CET-46]', () => {
    const { of } = results('idle-tasks')
    const bytes = (profile: string) => Number(of('bytes of 1000 tasks', profile))
    expect(bytes(K) - bytes(G)).toBe(24_000)
    expect([bytes(M), bytes(LAZY)]).toEqual([bytes(G), bytes(G)])
  })
  test('on Sapphire Rapids the bytes fall into a hole [CET-46]', () => {
    const { of, found } = results('alignment-hole')
    for (const profile of found.profiles) expect(of('bytes of a task', profile)).toBe('2560')
  })
})

describe('split locks', () => {
  test('fatal: the VMM gets SIGBUS and KVM_EXIT_EXCEPTION under every kernel [SLD-33]', () => {
    const { of, found } = results('guest-split-lock-fatal')
    for (const profile of found.profiles) {
      expect(of('KVM_RUN', profile)).toBe('exception 17')
      expect(of('signals to the VMM', profile)).toBe('signal 7 si_code 1')
    }
  })
})

describe('comparing', () => {
  test('the same comparison twice is the same', () => {
    expect(results('superset-image').found).toEqual(results('superset-image').found)
  })
  test('every scenario that ships names its document and profiles, and has a name of its own', () => {
    expect(new Set(compareScenarios.map((s) => s.name)).size).toBe(compareScenarios.length)
    for (const { title, document, profiles } of compareScenarios) {
      expect(title.length * document.length).toBeGreaterThan(0)
      expect(profiles.length).toBeGreaterThan(1)
    }
  })
  test('the table shows what differs, and all on request', () => {
    const { found } = results('host-pkru-leak')
    expect(comparisonTable(found, false).length).toBeLessThanOrEqual(comparisonTable(found, true).length)
    expect(comparisonTable(found, false)[0]).toMatch(/host-pkru-leak on SapphireRapids: 2 of 2 observations differ/)
  })
  test('names that are not known are told with the nearest', () => {
    expect(() => compareScenario('amx-reqest')).toThrow(/did you mean amx-request/)
    expect(() => compare(compareScenario('amx-request'), { profiles: ['linux-6.13'], cpu: 'SapphireRapids', decoder })).toThrow(
      /linux-6.12/,
    )
  })
})

describe('scenario files', () => {
  const file = (steps: unknown[], more: object = {}) =>
    JSON.stringify({ format: 'worldswitch scenario', version: 1, steps, ...more })
  test('steps are run under each profile', () => {
    const scenario = readScenarioFile(
      file([
        { vcpu: { components: '0x7' } },
        { setXsave: { set: '0x20' } },
        { getXsave: true },
        { migrate: {} },
        { idleTasks: 2 },
      ]),
      'f.json',
    )
    const { rows } = compare(scenario, { profiles: ['linux-5.17', 'linux-6.12'], cpu: 'SapphireRapids', decoder })
    expect(rows.find((row) => row.what.startsWith('2.'))!.results[0]).toMatch(/^EINVAL/)
    expect(rows.find((row) => row.what.startsWith('2.'))!.results[1]).toBe('ok')
    expect(rows.find((row) => row.what.startsWith('5.'))!.results).toEqual([
      '5120 bytes of FPU buffers',
      '5120 bytes of FPU buffers',
    ])
  })
  test.each([
    ['{', /not JSON/],
    ['{}', /format/],
    [file([]), /steps/],
    [file([{ fly: 1 }]), /steps\.0/],
    [file([{ run: 1e9 }]), /steps\.0/],
    [file([{ xcr0: 'seven' }]), /steps\.0/],
    [file(Array(1001).fill({ getXsave: true })), /steps/],
  ])('a bad file is refused with its place: %.40s', (json, because) => {
    expect(() => readScenarioFile(json, 'f.json')).toThrow(because)
  })
  test('a step that needs a vCPU and has none is refused', () => {
    const scenario = readScenarioFile(file([{ getXsave: true }]), 'f.json')
    expect(() => compare(scenario, { profiles: ['linux-6.12'], cpu: 'SapphireRapids', decoder })).toThrow(/no vCPU/)
  })
})
