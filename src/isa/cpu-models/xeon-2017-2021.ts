import { type CpuidRow, type CpuModelFacts, type FeatureAdjustment, type Omission, cpuidRow as row } from '../cpu-model.ts'
import { intelXstate } from './xstate-geometry.ts'

/** The three server generations before AMX: Ice Lake, Cascade Lake, Skylake. */

const ICX = 'Ice Lake server, CPUID as a KVM guest saw it on Linux 6.18'
const CLX = 'Cascade Lake server, CPUID as a KVM guest saw it on Linux 6.18'
const SKX = 'manual: as Cascade Lake (same core, SDM Vol. 4 family table), differences from the Skylake-X i7-7800X identification'
const BARE = 'computed: bare chip, not what KVM passes on'

const unmaskedLeaf1: FeatureAdjustment = {
  on: ['monitor', 'ds-cpl', 'dtes64', 'vmx', 'est', 'tm2', 'xtpr', 'dca', 'ds', 'acpi', 'ht', 'tm', 'pbe'],
  source: 'manual: SDM Vol. 2A CPUID 01H; masked by KVM',
}
const kvmOwn: FeatureAdjustment = {
  off: ['hypervisor', 'ibpb', 'ibrs', 'amd-stibp', 'amd-ssbd'],
  source: `${BARE}: set by KVM itself`,
}
const omissions: readonly Omission[] = [
  { what: 'SMX, PDCM, performance counters (leaf 0AH is zero)', because: 'not modelled' },
  { what: 'RDT, HWP, HDC, SGX, TME, thermal leaf apart from ARAT', because: 'not modelled' },
  { what: 'Intel PT and component PT', because: 'not modelled' },
  { what: 'TSX (HLE, RTM)', because: 'off in the guest readings too' },
]
const mpx: Omission = { what: 'MPX (components BNDREGS and BNDCSR)', because: 'its instructions are not executed' }
/** `+mpx` brings its state components back; the instructions stay without effect. */
const withoutMpx: FeatureAdjustment = {
  off: ['mpx'],
  source:
    'the chip has MPX; the engine does not execute it, so the model does not offer it (nor do the models of this name in QEMU since 4.0)',
}
const MISC_ENABLE = 'manual: SDM Vol. 4 Table 2-2 1A0H: fast strings, no BTS, no PEBS, EIST, MONITOR'

export const icelakeServer: CpuModelFacts = {
  name: 'Icelake-Server',
  vendor: 'GenuineIntel',
  family: 6,
  model: 0x6a,
  stepping: 6,
  brand: 'Intel(R) Xeon(R) Processor @ 2.90GHz',
  maxBasicLeaf: 0x1b,
  maxExtendedLeaf: 0x80000008,
  rows: [
    row(0x1, 0, 0, 0, 0xf7fa3207, 0x0fabfbff, ICX),
    row(0x2, 0, 0x00feff01, 0x000000f0, 0, 0, ICX),
    row(0x4, 0, 0x00000121, 0x02c0003f, 0x0000003f, 0, ICX), // L1D 48 KiB, 12 ways
    row(0x4, 1, 0x00000122, 0x01c0003f, 0x0000003f, 0, ICX), // L1I 32 KiB, 8 ways
    row(0x4, 2, 0x00000143, 0x04c0003f, 0x000003ff, 0, ICX), // L2 1.25 MiB, 20 ways
    row(0x4, 3, 0x00000163, 0x02c0003f, 0x00011fff, 0x4, ICX), // L3 54 MiB, 12 ways
    row(0x5, 0, 0x40, 0x40, 0x3, 0x2020, 'manual: SDM Vol. 2A CPUID 05H; values as on Skylake-X'),
    row(0x6, 0, 0x4, 0, 0, 0, ICX),
    row(0x7, 0, 2, 0xf1bf27eb, 0x00415f4e, 0xbc000410, ICX),
    row(0x7, 2, 0, 0, 0, 0x1, ICX),
    row(0xd, 1, 0xf, 0, 0, 0, ICX),
    row(0x15, 0, 2, 232, 25_000_000, 0, 'SDM Vol. 3B "Time-Stamp Counter": 25 MHz crystal; ratio of a 2.9 GHz part'),
    row(0x16, 0, 2900, 3500, 100, 0, 'brand string: 2.90 GHz; turbo 3.5 GHz'),
    row(0x80000001, 0, 0, 0, 0x121, 0x2c100800, ICX),
    row(0x80000006, 0, 0, 0, 0x01006040, 0, ICX),
    row(0x80000007, 0, 0, 0, 0, 0x100, ICX),
    row(0x80000008, 0, 0x392e, 0x0100d200, 0, 0, ICX),
  ],
  adjustments: [kvmOwn, unmaskedLeaf1],
  xstate: intelXstate,
  xstateSource: ICX,
  msrs: [
    { index: 0x8b, value: 0xd000421_00000000n, source: `${ICX}: microcode revision of the host` },
    { index: 0xce, value: 0x8000_1d00n, source: 'manual: SDM Vol. 4 Table 2-2 CEH (ratio 29); bit 31 read through KVM' },
    { index: 0xfe, value: 0xd0an, source: 'manual: SDM Vol. 3A §13.11.1' },
    { index: 0x10a, value: 0x0c02a0ebn, source: ICX },
    { index: 0x1a0, value: 0x51801n, source: MISC_ENABLE },
  ],
  tscKhz: 2_900_000,
  instructionsPerMicrosecond: 2000,
  // SLD §1: model 6AH has MSR_TEST_CTRL[29] although it does not enumerate MSR_IA32_CORE_CAPS.
  splitLockDetectByModel: true,
  source: `${ICX} (Amazon Linux, microcode 0xd000421); what KVM masks: Intel SDM`,
  hasRealDump: true,
  omissions,
}

/** Rows Skylake and Cascade Lake servers share. */
const skylakeCore = (source: string): CpuidRow[] => [
  row(0x1, 0, 0, 0, 0xf7fa3203, 0x0f8bfbff, source),
  row(0x2, 0, 0x76036301, 0x00f0b5ff, 0, 0x00c30000, source),
  row(0x4, 0, 0x00000121, 0x01c0003f, 0x0000003f, 0, source), // L1D 32 KiB, 8 ways
  row(0x4, 1, 0x00000122, 0x01c0003f, 0x0000003f, 0, source), // L1I 32 KiB, 8 ways
  row(0x4, 2, 0x00000143, 0x03c0003f, 0x000003ff, 0, source), // L2 1 MiB, 16 ways
  row(0x5, 0, 0x40, 0x40, 0x3, 0x2020, 'Skylake-X i7-7800X'),
  row(0x6, 0, 0x4, 0, 0, 0, source),
  row(0xd, 1, 0xf, 0, 0, 0, source),
  row(0x80000001, 0, 0, 0, 0x121, 0x2c100800, source),
  row(0x80000006, 0, 0, 0, 0x01006040, 0, source),
  row(0x80000007, 0, 0, 0, 0, 0x100, source),
]

export const cascadelakeServer: CpuModelFacts = {
  name: 'Cascadelake-Server',
  vendor: 'GenuineIntel',
  family: 6,
  model: 0x55,
  stepping: 7,
  brand: 'Intel(R) Xeon(R) Processor @ 2.50GHz',
  maxBasicLeaf: 0x16,
  maxExtendedLeaf: 0x80000008,
  rows: [
    ...skylakeCore(CLX),
    row(0x4, 3, 0x00000163, 0x0280003f, 0x0000cfff, 0x5, CLX), // L3 35.75 MiB, 11 ways
    row(0x7, 0, 0, 0xd19f67eb, 0x0000080c, 0xbc000400, CLX),
    row(0x15, 0, 2, 200, 25_000_000, 0, 'SDM Vol. 3B "Time-Stamp Counter": 25 MHz crystal; ratio of a 2.5 GHz part'),
    row(0x16, 0, 2500, 3900, 100, 0, 'brand string: 2.50 GHz; turbo 3.9 GHz'),
    row(0x80000008, 0, 0x302e, 0x0100d000, 0, 0, CLX),
  ],
  adjustments: [kvmOwn, unmaskedLeaf1, withoutMpx],
  xstate: intelXstate,
  xstateSource: CLX,
  msrs: [
    { index: 0x8b, value: 0x5003901_00000000n, source: `${CLX}: microcode revision of the host` },
    { index: 0xce, value: 0x8000_1900n, source: 'manual: SDM Vol. 4 Table 2-2 CEH (ratio 25); bit 31 read through KVM' },
    { index: 0xfe, value: 0xd0an, source: 'manual: SDM Vol. 3A §13.11.1' },
    { index: 0x10a, value: 0x0c0aa0ebn, source: CLX },
    { index: 0x1a0, value: 0x51801n, source: MISC_ENABLE },
  ],
  tscKhz: 2_500_000,
  instructionsPerMicrosecond: 2000,
  source: `${CLX} (Amazon Linux, microcode 0x5003901); what KVM masks: Intel SDM`,
  hasRealDump: true,
  omissions: [...omissions, mpx],
}

/** No reading of a Skylake server was at hand: `hasRealDump` is false. XCR0 2FFH and its sizes are PERM §13's. */
export const skylakeServer: CpuModelFacts = {
  name: 'Skylake-Server',
  vendor: 'GenuineIntel',
  family: 6,
  model: 0x55,
  stepping: 4,
  brand: 'Intel(R) Xeon(R) Processor @ 2.50GHz',
  maxBasicLeaf: 0x16,
  maxExtendedLeaf: 0x80000008,
  rows: [
    ...skylakeCore(SKX),
    row(0x4, 3, 0x00000163, 0x0280003f, 0x0000cfff, 0x5, SKX),
    row(0x7, 0, 0, 0xd19f67eb, 0x0000080c, 0xbc000400, SKX),
    row(0x15, 0, 2, 200, 25_000_000, 0, 'SDM Vol. 3B "Time-Stamp Counter": 25 MHz crystal; ratio of a 2.5 GHz part'),
    row(0x16, 0, 2500, 3500, 100, 0, 'manual: SDM Vol. 2A CPUID 16H; ratio of a 2.5 GHz part'),
    row(0x80000008, 0, 0x302e, 0x0100d000, 0, 0, SKX),
  ],
  adjustments: [
    kvmOwn,
    unmaskedLeaf1,
    withoutMpx,
    {
      off: ['avx512vnni', 'arch-capabilities'],
      source:
        'manual: Intel ISA Extensions reference, Table 1-2 (VNNI from Cascade Lake); no IA32_ARCH_CAPABILITIES on this stepping',
    },
  ],
  xstate: intelXstate,
  xstateSource: 'PERM §13 (Skylake-SP with MPX); geometry as read on Cascade Lake',
  msrs: [
    { index: 0x8b, value: 0x2000065_00000000n, source: 'manual: a microcode revision of stepping 4' },
    { index: 0xce, value: 0x8000_1900n, source: 'manual: SDM Vol. 4 Table 2-2 CEH (ratio 25)' },
    { index: 0xfe, value: 0xd0an, source: 'manual: SDM Vol. 3A §13.11.1' },
    { index: 0x1a0, value: 0x51801n, source: MISC_ENABLE },
  ],
  tscKhz: 2_500_000,
  instructionsPerMicrosecond: 2000,
  source: 'Intel SDM and the Cascade Lake reading; no CPUID dump of a Skylake server was at hand',
  hasRealDump: false,
  omissions: [...omissions, mpx],
}
