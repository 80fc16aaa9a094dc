import { beforeAll, describe, expect, test } from 'vitest'
import { campaign } from '../../scripts/fuzz/campaign.ts'
import { describeFailure } from '../../scripts/fuzz/report.ts'
import { cpuModelFacts } from '../../src/isa/cpu-models/index.ts'
import { kernelProfiles } from '../../src/profiles/index.ts'
import { registerDecoder } from '../../src/vmm/modelled/decoder.ts'
import { icedModule } from '../machine/bare-host.ts'

beforeAll(() => registerDecoder(icedModule()))

const everywhere = { cpus: cpuModelFacts.map(({ name }) => name), kernels: kernelProfiles.map(({ name }) => name) }

describe('random and mutated arguments', () => {
  test('get the errno that the rules name, and a refused call changes nothing [XSAVE-15, XSAVE-17, XSAVE-18, XSAVE-19, XSAVE-20, XSAVE-21, XSAVE-25, XSAVE-30, XSAVE-33, XSAVE-48, GFPU-26, GFPU-39, GFPU-43, GFPU-45, PERM-17]', () => {
    const { failures, outcomes, runs } = campaign(everywhere, 4000, 20)
    expect(failures.flatMap((failure) => describeFailure(failure, 20))).toEqual([])
    expect(runs).toBe(4000)
    // Both sides of the line were met.
    for (const outcome of [
      ...['KVM_SET_XSAVE ok', 'KVM_SET_XSAVE EINVAL', 'KVM_SET_XSAVE EFAULT', 'KVM_SET_XCRS ok', 'KVM_SET_XCRS EINVAL'],
      ...['KVM_SET_CPUID2 ok', 'KVM_SET_CPUID2 E2BIG', 'KVM_SET_CPUID2 EINVAL', 'KVM_SET_CPUID2 EPERM', 'KVM_SET_MSRS ok'],
      ...['KVM_SET_MSRS E2BIG', 'prctl ok', 'prctl EOPNOTSUPP', 'run ok'],
    ])
      expect(outcomes.get(outcome) ?? 0, outcome).toBeGreaterThan(2)
  })

  test('are the same for the same seed', () => {
    const once = campaign(everywhere, 300, 7)
    const again = campaign(everywhere, 300, 7)
    expect([...again.outcomes]).toEqual([...once.outcomes])
    expect([...campaign(everywhere, 300, 8).outcomes]).not.toEqual([...once.outcomes])
  })
})
