import { describe, expect, it } from 'vitest'
import { xstateLayout } from '../../../src/isa/xstate-layout.ts'
import { type HostCpu, KvmCpuCaps } from '../../../src/kvm/cpuid/cpu-caps.ts'
import { emulatedCpuid, filteredXcr0, supportedCpuid } from '../../../src/kvm/cpuid/supported-cpuid.ts'
import { readRecording, recordedCpuid, recordedEntries } from '../recording.ts'

const bochs = readRecording('linux-6.12-bochs-spr')
const tcg = readRecording('linux-6.12-qemu-tcg')

const intelLayout = xstateLayout([
  { nr: 2, size: 256, offset: 576 },
  { nr: 5, size: 64, offset: 1088 },
  { nr: 6, size: 512, offset: 1152 },
  { nr: 7, size: 1024, offset: 1664 },
  { nr: 9, size: 8, offset: 2688 },
  { nr: 17, size: 64, offset: 2752, align64: true },
  { nr: 18, size: 8192, offset: 2816, align64: true, xfd: true },
])

/** The recorded kernel ran with fast-string operation off in IA32_MISC_ENABLE, so it had dropped ERMS itself. */
const ERMS = 1 << 9

function bochsHost(): HostCpu {
  const cpuid = recordedCpuid(bochs)
  return {
    cpuid: (leaf, sub) => {
      const r = { ...cpuid(leaf, sub) }
      if (leaf === 7 && sub === 0) r.ebx &= ~ERMS
      return r
    },
    xcr0: 0x602e7,
    archCapabilities: 0x400000000c00005fn,
    isAmd: false,
    nested: true,
  }
}

describe('KVM_GET_SUPPORTED_CPUID of the recorded Sapphire Rapids host', () => {
  for (const [scenario, guestPermission] of [
    ['kvm.supported_cpuid.no_permission', 0x20ae7],
    ['kvm.supported_cpuid.host_permission', 0x20ae7],
    ['kvm.supported_cpuid.guest_permission', 0x60ae7],
  ] as const) {
    it(`${scenario} [KAPI-81, KAPI-82, XSAVE-40, XSAVE-41]`, () => {
      const host = bochsHost()
      const list = supportedCpuid({
        host,
        caps: new KvmCpuCaps(host),
        xstate: intelLayout,
        supportedXcr0: 0x602e7,
        supportedXss: 0,
        guestPermission,
        hidesXtileCfg: true,
        reportsTmulSubleaf1: false,
      })
      const recorded = bochs.get(scenario)!.calls.at(-1)
      expect(list).toEqual(recordedEntries(recorded))
    })
  }

  it('offers VMX only where nested virtualization is on', () => {
    expect(new KvmCpuCaps(bochsHost()).has('VMX')).toBe(true)
    expect(new KvmCpuCaps({ ...bochsHost(), nested: false }).has('VMX')).toBe(false)
  })
})

describe('KVM_GET_SUPPORTED_CPUID of the recorded AMD host', () => {
  it('has KVM-known bits only, the subleaves of 0xD that XCR0 has, and nested SVM [KAPI-82]', () => {
    const cpuid = recordedCpuid(tcg)
    const host: HostCpu = { cpuid, xcr0: 0x21f, archCapabilities: 0n, isAmd: true, nested: true }
    const xstate = xstateLayout([
      { nr: 2, size: 256, offset: 576 },
      { nr: 3, size: 64, offset: 960 },
      { nr: 4, size: 64, offset: 1024 },
      { nr: 9, size: 8, offset: 2688 },
    ])
    const list = supportedCpuid({
      host,
      caps: new KvmCpuCaps(host),
      xstate,
      supportedXcr0: 0x207,
      supportedXss: 0,
      guestPermission: 0x207,
      hidesXtileCfg: true,
      reportsTmulSubleaf1: false,
    })
    expect(list).toEqual(recordedEntries(tcg.get('kvm.supported_cpuid.no_permission')!.calls.at(-1)))
  })
})

describe('what the calling process may see of the dynamic components', () => {
  it('hides XTILE_DATA without guest permission, and then XTILE_CFG [XSAVE-40]', () => {
    expect(filteredXcr0(0x602e7, 0x20ae7, true)).toBe(0x2e7)
    expect(filteredXcr0(0x602e7, 0x20ae7, false)).toBe(0x202e7)
    expect(filteredXcr0(0x602e7, 0x60ae7, true)).toBe(0x602e7)
  })
  it('filters nothing on a host without dynamic components [XSAVE-40]', () => {
    expect(filteredXcr0(0x207, 0, true)).toBe(0x207)
  })
})

describe('KVM_GET_EMULATED_CPUID', () => {
  it('offers MOVBE, and RDPID where RDTSCP exists', () => {
    const host = bochsHost()
    expect(emulatedCpuid(new KvmCpuCaps(host)).map((e) => [e.function, e.eax, e.ecx])).toEqual([
      [0, 7, 0],
      [1, 0, 1 << 22],
      [7, 0, 1 << 22],
    ])
  })
})
