import { type CpuModelFacts, cpuidRow as row } from '../cpu-model.ts'
import { amdXstate, intelXstate } from './xstate-geometry.ts'

/**
 * The processors under which the project's recordings of real kernels were made, exactly as their `cpuid.native` scenario shows
 * them, hypervisor bit included. They exist so that a recording can be replayed against the model; run-time bits (OSXSAVE,
 * OSPKE, current XSAVE sizes) are taken out because the processor computes them.
 */

const BOCHS = 'recording linux-6.12-bochs-spr, scenario cpuid.native'
const VMX = 'recording linux-6.12-bochs-spr, scenario kvm.msr_lists'
const TCG = 'recording linux-6.12-qemu-tcg, scenario cpuid.native'
const HOST = 'recording linux-6.18-host, scenario cpuid.native'
const RUNTIME = { off: ['osxsave', 'ospke'] as const, source: 'run-time bits' }

/** Emulated Sapphire Rapids (Bochs), with XFD added for the recordings: no PASID, no LBR. Host of linux-6.12-bochs-spr. */
export const sapphireRapidsBochs: CpuModelFacts = {
  name: 'SapphireRapids-bochs',
  vendor: 'GenuineIntel',
  family: 6,
  model: 0x8f,
  stepping: 8,
  brand: 'Intel(R) Xeon(R) w9-3475X',
  maxBasicLeaf: 0x20,
  maxExtendedLeaf: 0x80000008,
  outOfRangeLeaf: 'zero',
  topologyLeaves: false,
  rows: [
    row(0x1, 0, 0, 0, 0x7ffef3bf, 0xafebfbff, BOCHS),
    row(0x2, 0, 0x00feff01, 0x000000f0, 0, 0, BOCHS),
    row(0x4, 0, 0xfc004121, 0x02c0003f, 0x0000003f, 0, BOCHS),
    row(0x4, 1, 0xfc004122, 0x01c0003f, 0x0000003f, 0, BOCHS),
    row(0x4, 2, 0xfc004143, 0x03c0003f, 0x000007ff, 0, BOCHS),
    row(0x4, 3, 0xfc1fc163, 0x0380003f, 0x00015fff, 0x4, BOCHS),
    row(0x5, 0, 0x40, 0x40, 0x3, 0x1020, BOCHS),
    row(0x6, 0, 0x0045cef7, 0x2, 0x9, 0, BOCHS),
    row(0x7, 0, 2, 0xf1bf27eb, 0x98415ffe, 0xffd04410, BOCHS),
    row(0x7, 1, 0x00001c30, 0, 0, 0, BOCHS),
    row(0x7, 2, 0, 0, 0, 0x17, BOCHS),
    row(0xa, 0, 0x08300805, 0, 0xf, 0x8604, BOCHS),
    row(0xd, 1, 0x1f, 0, 0, 0, BOCHS),
    row(0x15, 0, 1, 1, 200_000_000, 0, BOCHS),
    row(0x16, 0, 0xc8, 0xc8, 0x64, 0, BOCHS),
    row(0x18, 0, 8, 0, 0, 0, BOCHS),
    row(0x1d, 0, 1, 0, 0, 0, BOCHS),
    row(0x1d, 1, 0x04002000, 0x00080040, 0x10, 0, BOCHS),
    row(0x1e, 0, 0, 0x4010, 0, 0, BOCHS),
    row(0x1e, 1, 0x3, 0, 0, 0, BOCHS),
    row(0x80000001, 0, 0, 0, 0x121, 0x2c100800, BOCHS),
    row(0x80000006, 0, 0, 0, 0x08007040, 0, BOCHS),
    row(0x80000007, 0, 0, 0, 0, 0x100, BOCHS),
    row(0x80000008, 0, 0x3928, 0x200, 0, 0, BOCHS),
  ],
  adjustments: [RUNTIME],
  xstate: intelXstate,
  xstateSource: BOCHS,
  msrs: [
    { index: 0xcf, value: 0x20n, source: 'the recordings: a plain register there, no #AC on split locks' },
    { index: 0x1a0, value: 0n, source: 'the recordings: that kernel found fast strings (bit 0) off and dropped ERMS' },
    { index: 0x10a, value: 0x40000000_0c000017n, source: "kvm.msr.*.0x10a there, less what KVM adds; unknown if the chip's" },
    { index: 0x48, value: 0n, writable: 0x17fn, source: 'kvm.msr.*.0x48 there: bit 8 too, though DDPD_U is not enumerated' },
    // What KVM passes on of them (kvm.msr_lists there): bits that KVM keeps to itself are unknown and 0 here.
    { index: 0x480, value: 0xd8_1000_11e5_7ed0n, source: VMX },
    { index: 0x485, value: 0x2000_0165n, source: VMX },
    { index: 0x487, value: 0xffff_ffffn, source: VMX },
    { index: 0x489, value: 0x1f7_3fffn, source: VMX },
    { index: 0x48b, value: 0x0613_7bff_0000_0000n, source: VMX },
    { index: 0x48c, value: 0xf01_0633_4041n, source: VMX },
    { index: 0x48d, value: 0xff_0000_0016n, source: VMX },
    { index: 0x48e, value: 0xfff9_fffe_0400_6172n, source: VMX },
    { index: 0x48f, value: 0x7f_ffff_0003_6dfbn, source: VMX },
    { index: 0x490, value: 0xf3ff_0000_11fbn, source: VMX },
    { index: 0x491, value: 1n, source: VMX },
    { index: 0x122, value: 0n, source: 'kvm.msr.*.0x122 there: the register exists, though TSX_CTRL is not enumerated' },
  ],
  tscKhz: 200_000,
  instructionsPerMicrosecond: 200,
  source: BOCHS,
  hasRealDump: true,
  omissions: [{ what: 'subleaves 1..8 of leaf 18H', because: 'not recorded' }],
}

/** QEMU 7.2's emulated `-cpu max`: MPX and PKU, no XSAVEC, no XSAVES. Host of linux-6.12-qemu-tcg. */
export const qemuTcgMax: CpuModelFacts = {
  name: 'qemu-tcg-max',
  vendor: 'AuthenticAMD',
  family: 0xf,
  model: 0x6b,
  stepping: 1,
  brand: 'QEMU TCG CPU version 2.5+',
  maxBasicLeaf: 0xd,
  maxExtendedLeaf: 0x8000000a,
  rows: [
    row(0x1, 0, 0, 0, 0xfed8320b, 0x0fcbfbfd, TCG),
    row(0x5, 0, 0, 0, 0x3, 0, TCG),
    row(0x6, 0, 0x4, 0, 0, 0, TCG),
    row(0x7, 0, 0, 0x01d843a9, 0x8001021c, 0, TCG),
    row(0xd, 1, 0x5, 0, 0, 0, TCG),
    row(0x80000001, 0, 0, 0, 0x75, 0xedd3fbfd, TCG),
    row(0x40000000, 0, 0x40000001, 0x54474354, 0x43544743, 0x47435447, TCG),
    row(0x80000005, 0, 0x01ff01ff, 0x01ff01ff, 0x40020140, 0x40020140, TCG),
    row(0x80000006, 0, 0, 0x42004200, 0x02008140, 0x00808140, TCG),
    row(0x80000008, 0, 0x3928, 0, 0, 0, TCG),
    row(0x8000000a, 0, 1, 0x10, 0, 0x10010001, TCG),
  ],
  adjustments: [RUNTIME],
  xstate: intelXstate,
  xstateSource: TCG,
  msrs: [{ index: 0x8b, value: 0x1000065n, source: 'kvm.msr_lists there' }],
  emulator: { xinuseAssumed: true, mxcsrUnchecked: true, unknownMsrsAreZero: true, compactedSizeWithoutXsavec: true },
  tscKhz: 1_000_000,
  instructionsPerMicrosecond: 1000,
  source: TCG,
  hasRealDump: true,
  omissions: [],
}

/** The virtual Zen 5 machine with its own limited /dev/kvm. Host of linux-6.18-host. */
export const epycTurinVirtual: CpuModelFacts = {
  name: 'EPYC-Turin-virtual',
  vendor: 'AuthenticAMD',
  family: 0x1a,
  model: 0x02,
  stepping: 1,
  brand: 'AMD EPYC',
  maxBasicLeaf: 0x1c,
  maxExtendedLeaf: 0x80000021,
  rows: [
    row(0x1, 0, 0, 0, 0xfffa3203, 0x178bfbff, HOST),
    row(0x6, 0, 0x4, 0, 0, 0, HOST),
    row(0x7, 0, 1, 0xf1bf07ab, 0x00405fc6, 0x00000110, HOST),
    row(0x7, 1, 0x30, 0, 0, 0, HOST),
    row(0xd, 1, 0xf, 0, 0, 0, HOST),
    row(0x80000001, 0, 0, 0x40000000, 0x004003f3, 0x2fd3fbff, HOST),
    row(0x80000005, 0, 0xff60ff40, 0xff60ff40, 0x300c0140, 0x20080140, HOST),
    row(0x80000006, 0, 0x40802040, 0x60804040, 0x04008140, 0x0c009140, HOST),
    row(0x80000007, 0, 0, 0, 0, 0x100, HOST),
    row(0x80000008, 0, 0x00303030, 0x50020005, 0x00007001, 0, HOST),
    row(0x8000001a, 0, 0x2, 0, 0, 0, HOST),
    row(0x8000001d, 0, 0x121, 0x02c0003f, 0x3f, 0, HOST),
    row(0x80000021, 0, 0x00000204, 0, 0x86, 0, HOST),
  ],
  adjustments: [RUNTIME],
  xstate: amdXstate,
  xstateSource: HOST,
  msrs: [{ index: 0x8b, value: 0x1000065n, source: 'kvm.msr_lists there' }],
  tscKhz: 2_400_000,
  instructionsPerMicrosecond: 2000,
  source: HOST,
  hasRealDump: true,
  omissions: [
    { what: 'hypervisor leaves 40000000H and 40000001H', because: 'not the chip' },
    { what: 'MSR values', because: 'not recorded' },
  ],
}
