import { type CpuidRow, type CpuModelFacts, type FeatureAdjustment, type Omission, cpuidRow as row } from '../cpu-model.ts'
import { amdXstate } from './xstate-geometry.ts'

/** AMD EPYC, Zen 3 to Zen 5. No XFD, no AMX; compacted format everywhere; no MPX hole in the standard format. */

const MILAN = 'EPYC Milan (Zen 3), CPUID as a KVM guest saw it on Linux 6.18'
const GENOA = 'EPYC Genoa (Zen 4), CPUID as a KVM guest saw it on Linux 6.18'
const TURIN = 'EPYC Turin (Zen 5), CPUID of a virtual machine'
const PPR = 'manual: APM Vol. 3 Appendix E; masked by the hypervisor'

const bare: FeatureAdjustment = {
  off: ['hypervisor', 'tsc-adjust', 'tsc-deadline', 'spec-ctrl', 'stibp', 'ssbd', 'arch-capabilities'],
  source: 'computed: bare chip; bits of Intel features that KVM adds on AMD',
}
const unmasked: FeatureAdjustment = { on: ['monitor', 'ht', 'svm', 'extapic'], source: PPR }
const svmFeatures: FeatureAdjustment = {
  on: [
    'npt',
    'lbrv',
    'svm-lock',
    'nrip-save',
    'tsc-scale',
    'vmcb-clean',
    'flushbyasid',
    'decodeassists',
    'pause-filter',
    'pfthreshold',
    'avic',
    'v-vmsave-vmload',
    'vgif',
    'svme-addr-chk',
  ],
  source: 'manual: APM Vol. 3 App. E, 8000000AH EDX; features common to Zen 3 and later',
}

/** Revision and number of ASIDs; the feature bits are adjustments. */
const svmLeaf = (source: string): CpuidRow => row(0x8000000a, 0, 1, 0x8000, 0, 0, source)
const SVM = 'manual: APM Vol. 3 App. E, 8000000AH: revision 1, 32768 ASIDs'

const omissions: readonly Omission[] = [
  { what: 'IBS, SKINIT, WDT, performance counters beyond the legacy bits, RDT, CPPC', because: 'not modelled' },
  { what: 'SME, SEV (leaf 8000001FH is zero)', because: 'no confidential VMs' },
]

export const epycMilan: CpuModelFacts = {
  name: 'EPYC-Milan',
  vendor: 'AuthenticAMD',
  family: 0x19,
  model: 0x01,
  stepping: 1,
  brand: 'AMD EPYC',
  maxBasicLeaf: 0x10,
  maxExtendedLeaf: 0x80000022,
  rows: [
    row(0x1, 0, 0, 0, 0xf7fa3203, 0x078bfbff, MILAN),
    row(0x5, 0, 0x40, 0x40, 0x3, 0x11, 'manual: APM Vol. 3 App. E, 05H'),
    row(0x6, 0, 0x4, 0, 0, 0, MILAN),
    row(0x7, 0, 0, 0x219c05ab, 0x0040068c, 0x88000000, MILAN),
    row(0xd, 1, 0xf, 0, 0, 0, MILAN),
    row(0x80000001, 0, 0, 0x40000000, 0x00c003f3, 0x2fd3fbff, MILAN),
    row(0x80000005, 0, 0xff40ff40, 0xff40ff40, 0x20080140, 0x20080140, MILAN),
    row(0x80000006, 0, 0x48002200, 0x68004200, 0x02006140, 0x06009140, MILAN),
    row(0x80000007, 0, 0, 0, 0, 0x100, MILAN),
    row(0x80000008, 0, 0x3030, 0x130ad205, 0x7000, 0, MILAN),
    svmLeaf(SVM),
    row(0x80000019, 0, 0xf040f040, 0xf0400000, 0, 0, MILAN),
    row(0x8000001a, 0, 0x6, 0, 0, 0, MILAN),
    row(0x8000001d, 0, 0x121, 0x01c0003f, 0x3f, 0, MILAN), // L1D 32 KiB
    row(0x8000001d, 1, 0x122, 0x01c0003f, 0x3f, 0, MILAN), // L1I 32 KiB
    row(0x8000001d, 2, 0x143, 0x01c0003f, 0x3ff, 0x2, MILAN), // L2 512 KiB
    row(0x8000001d, 3, 0x163, 0x03c0003f, 0x7fff, 0x1, MILAN), // L3 32 MiB
    row(0x80000021, 0, 0x18000265, 0, 0x6, 0, MILAN),
  ],
  adjustments: [bare, unmasked, svmFeatures],
  xstate: amdXstate,
  xstateSource: MILAN,
  msrs: [
    { index: 0x8b, value: 0xa0011den, source: `${MILAN}: microcode revision of the host` },
    { index: 0xfe, value: 0x508n, source: 'manual: APM Vol. 2 §7.7.1: 8 variable ranges, fixed ranges, WC' },
    { index: 0xc0010015, value: 0x09000010n, source: 'manual: APM Vol. 2 §3.2.10 HWCR: SMM lock aside, TSC frequency select' },
    { index: 0xc0011029, value: 0x2n, source: 'manual: DE_CFG bit 1, LFENCE serializing' },
  ],
  tscKhz: 2_450_000,
  instructionsPerMicrosecond: 2000,
  source: `${MILAN} (Amazon Linux, microcode 0xa0011de); what KVM masks: AMD APM`,
  hasRealDump: true,
  omissions: [...omissions, { what: 'ERMS, FSRM', because: 'off in the guest reading' }],
}

export const epycGenoa: CpuModelFacts = {
  name: 'EPYC-Genoa',
  vendor: 'AuthenticAMD',
  family: 0x19,
  model: 0x11,
  stepping: 1,
  brand: 'AMD EPYC',
  maxBasicLeaf: 0x10,
  maxExtendedLeaf: 0x80000022,
  rows: [
    row(0x1, 0, 0, 0, 0xf7fa3203, 0x078bfbff, GENOA),
    row(0x5, 0, 0x40, 0x40, 0x3, 0x11, 'manual: APM Vol. 3 App. E, 05H'),
    row(0x6, 0, 0x4, 0, 0, 0, GENOA),
    row(0x7, 0, 1, 0xf1bf07ab, 0x00415fce, 0x9c000010, GENOA),
    row(0x7, 1, 0x20, 0, 0, 0, GENOA),
    row(0xd, 1, 0xf, 0, 0, 0, GENOA),
    row(0x80000001, 0, 0, 0x40000000, 0x00c003f3, 0x2fd3fbff, GENOA),
    row(0x80000005, 0, 0xff48ff40, 0xff48ff40, 0x20080140, 0x20080140, GENOA),
    row(0x80000006, 0, 0x5c002200, 0x6c004200, 0x04006140, 0x0c009140, GENOA),
    row(0x80000007, 0, 0, 0, 0, 0x100, GENOA),
    row(0x80000008, 0, 0x3934, 0x530ad205, 0x7000, 0, GENOA),
    svmLeaf(SVM),
    row(0x80000019, 0, 0xf048f040, 0xf0400000, 0, 0, GENOA),
    row(0x8000001a, 0, 0x6, 0, 0, 0, GENOA),
    row(0x8000001d, 0, 0x121, 0x01c0003f, 0x3f, 0, GENOA), // L1D 32 KiB
    row(0x8000001d, 1, 0x122, 0x01c0003f, 0x3f, 0, GENOA), // L1I 32 KiB
    row(0x8000001d, 2, 0x143, 0x01c0003f, 0x7ff, 0x2, GENOA), // L2 1 MiB
    row(0x8000001d, 3, 0x163, 0x03c0003f, 0x7fff, 0x1, GENOA), // L3 32 MiB
    row(0x80000021, 0, 0x18000367, 0, 0x6, 0, GENOA),
  ],
  adjustments: [bare, unmasked, svmFeatures],
  xstate: amdXstate,
  xstateSource: GENOA,
  msrs: [
    { index: 0x8b, value: 0xa101158n, source: `${GENOA}: microcode revision of the host` },
    { index: 0xfe, value: 0x508n, source: 'manual: APM Vol. 2 §7.7.1: 8 variable ranges, fixed ranges, WC' },
    { index: 0xc0010015, value: 0x09000010n, source: 'manual: APM Vol. 2 §3.2.10 HWCR' },
    { index: 0xc0011029, value: 0x2n, source: 'manual: DE_CFG bit 1, LFENCE serializing' },
  ],
  tscKhz: 2_400_000,
  instructionsPerMicrosecond: 2000,
  source: `${GENOA} (Amazon Linux, microcode 0xa101158); what KVM masks: AMD APM`,
  hasRealDump: true,
  omissions,
}

/** The reading is of a virtual machine whose hypervisor hides PKU, LA57 and SVM; those come from the manual. */
export const epycTurin: CpuModelFacts = {
  name: 'EPYC-Turin',
  vendor: 'AuthenticAMD',
  family: 0x1a,
  model: 0x02,
  stepping: 1,
  brand: 'AMD EPYC',
  maxBasicLeaf: 0x10,
  maxExtendedLeaf: 0x80000021,
  rows: [
    row(0x1, 0, 0, 0, 0xfffa3203, 0x178bfbff, TURIN),
    row(0x5, 0, 0x40, 0x40, 0x3, 0x11, 'manual: APM Vol. 3 App. E, 05H'),
    row(0x6, 0, 0x4, 0, 0, 0, TURIN),
    row(0x7, 0, 1, 0xf1bf07ab, 0x00405fc6, 0x00000110, TURIN),
    row(0x7, 1, 0x30, 0, 0, 0, TURIN),
    row(0xd, 1, 0xf, 0, 0, 0, TURIN),
    row(0x80000001, 0, 0, 0x40000000, 0x004003f3, 0x2fd3fbff, TURIN),
    row(0x80000005, 0, 0xff60ff40, 0xff60ff40, 0x300c0140, 0x20080140, TURIN),
    row(0x80000006, 0, 0x40802040, 0x60804040, 0x04008140, 0x0c009140, TURIN),
    row(0x80000007, 0, 0, 0, 0, 0x100, TURIN),
    row(0x80000008, 0, 0x3030, 0x50020005, 0x7000, 0, TURIN),
    svmLeaf(SVM),
    row(0x8000001a, 0, 0x2, 0, 0, 0, TURIN),
    row(0x8000001d, 0, 0x121, 0x02c0003f, 0x3f, 0, TURIN), // L1D 48 KiB
    row(0x8000001d, 1, 0x122, 0x01c0003f, 0x3f, 0, TURIN), // L1I 32 KiB
    row(0x8000001d, 2, 0x143, 0x03c0003f, 0x3ff, 0x2, TURIN), // L2 1 MiB
    row(0x8000001d, 3, 0x163, 0x03c0003f, 0x7fff, 0x1, TURIN), // L3 32 MiB
    row(0x80000021, 0, 0x00000204, 0, 0x86, 0, TURIN),
  ],
  adjustments: [
    { off: ['hypervisor', 'tsc-adjust', 'tsc-deadline', 'osxsave'], source: 'computed: bare chip; bits the hypervisor adds' },
    unmasked,
    svmFeatures,
    { on: ['pku', 'la57'], source: 'manual: APM Vol. 2 §5.6.7, §5.3.5 (Zen 4 and later); hidden by the hypervisor' },
    { on: ['ibpb', 'ibrs', 'amd-stibp', 'amd-ssbd', 'wbnoinvd'], source: 'manual: as on Zen 4; hidden by the hypervisor' },
  ],
  xstate: amdXstate,
  xstateSource: `${TURIN}; PKRU placed as on Zen 4`,
  msrs: [
    { index: 0x8b, value: 0xb002116n, source: 'manual: a microcode revision of this stepping' },
    { index: 0xfe, value: 0x508n, source: 'manual: APM Vol. 2 §7.7.1: 8 variable ranges, fixed ranges, WC' },
    { index: 0xc0010015, value: 0x09000010n, source: 'manual: APM Vol. 2 §3.2.10 HWCR' },
    { index: 0xc0011029, value: 0x2n, source: 'manual: DE_CFG bit 1, LFENCE serializing' },
  ],
  tscKhz: 2_400_000,
  instructionsPerMicrosecond: 2000,
  source: `${TURIN}; what its hypervisor hides: AMD APM`,
  hasRealDump: true,
  omissions,
}
