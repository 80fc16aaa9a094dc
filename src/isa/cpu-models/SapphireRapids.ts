import { type CpuModelFacts, cpuidRow as row } from '../cpu-model.ts'
import { intelXstate } from './xstate-geometry.ts'

const GUEST = 'Sapphire Rapids server, CPUID as a KVM guest saw it on Linux 6.18'
const BARE = 'computed: bare chip, not what KVM passes on'

/**
 * Xeon Scalable, 4th generation (Golden Cove server core). The rows are a KVM guest's reading of the chip; bits that a
 * hypervisor sets or hides are put back by the adjustments. Leaf 4 topology fields are set per machine by `processorCpuid`.
 */
export const sapphireRapids: CpuModelFacts = {
  name: 'SapphireRapids',
  vendor: 'GenuineIntel',
  family: 6,
  model: 0x8f,
  stepping: 8,
  brand: 'Intel(R) Xeon(R) Processor',
  maxBasicLeaf: 0x20,
  maxExtendedLeaf: 0x80000008,
  rows: [
    row(0x1, 0, 0, 0, 0xf7fa3207, 0x0fabfbff, GUEST),
    row(0x2, 0, 0x00feff01, 0x000000f0, 0, 0, GUEST),
    row(0x4, 0, 0x00000121, 0x02c0003f, 0x0000003f, 0, GUEST), // L1D 48 KiB, 12 ways
    row(0x4, 1, 0x00000122, 0x01c0003f, 0x0000003f, 0, GUEST), // L1I 32 KiB, 8 ways
    row(0x4, 2, 0x00000143, 0x03c0003f, 0x000007ff, 0, GUEST), // L2 2 MiB, 16 ways
    row(0x4, 3, 0x00000163, 0x0380003f, 0x0001bfff, 0x4, GUEST), // L3 105 MiB, 15 ways
    row(0x5, 0, 0x40, 0x40, 0x3, 0x1020, 'Sapphire Rapids w9-3475X, as the emulated chip of the recordings repeats it'),
    row(0x6, 0, 0x4, 0, 0, 0, GUEST),
    row(0x7, 0, 2, 0xf1bf27eb, 0x1b415fce, 0xbfd14410, GUEST),
    row(0x7, 1, 0x00001c30, 0, 0, 0, GUEST),
    row(0x7, 2, 0, 0, 0, 0x17, GUEST),
    row(0xd, 1, 0x1f, 0, 0, 0, GUEST),
    row(0x15, 0, 2, 160, 25_000_000, 0, 'SDM Vol. 3B "Time-Stamp Counter": 25 MHz crystal; ratio of a 2.0 GHz part'),
    row(0x16, 0, 2000, 3800, 100, 0, 'Xeon Platinum 8480+: base 2.0 GHz, turbo 3.8 GHz, bus 100 MHz'),
    row(
      0x1c,
      0,
      0x4000000b,
      0x7,
      0x7,
      0,
      'manual: SDM Vol. 3B §18.1.1 (architectural LBR, depths 8, 16, 32); no reading of this part',
    ),
    row(0x1d, 0, 1, 0, 0, 0, GUEST),
    row(0x1d, 1, 0x04002000, 0x00080040, 0x10, 0, GUEST),
    row(0x1e, 0, 0, 0x4010, 0, 0, GUEST),
    row(0x80000001, 0, 0, 0, 0x121, 0x2c100800, GUEST),
    row(0x80000006, 0, 0, 0, 0x08007040, 0, GUEST),
    row(0x80000007, 0, 0, 0, 0, 0x100, GUEST),
    row(0x80000008, 0, 0x392e, 0x0100d200, 0, 0, GUEST),
  ],
  adjustments: [
    { off: ['hypervisor', 'ibpb', 'ibrs', 'amd-stibp', 'amd-ssbd'], source: `${BARE}: set by KVM itself` },
    {
      on: ['monitor', 'ds-cpl', 'vmx', 'est', 'tm2', 'xtpr', 'dca', 'acpi', 'ht', 'tm', 'pbe'],
      source: 'manual: SDM Vol. 2A CPUID 01H; masked by KVM; read on a w9-3475X by the emulated chip of the recordings',
    },
    {
      on: ['waitpkg', 'pks'],
      source: 'manual: Intel ISA Extensions reference, Table 1-2 (Sapphire Rapids); masked in the guest',
    },
    { on: ['enqcmd'], source: 'manual: Intel ISA Extensions reference, Table 1-2; component PASID (PERM §1, CET-04)' },
    { on: ['arch-lbr'], source: 'manual: SDM Vol. 3B ch. 18; component LBR (CET-04)' },
    { on: ['core-capability', 'split-lock-detect'], source: 'manual: SDM Vol. 2A CPUID 07H EDX[30]; SLD-10' },
  ],
  xstate: intelXstate,
  xstateSource: `${GUEST}; supervisor components PASID and LBR from the manual`,
  msrs: [
    { index: 0x8b, value: 0x2b000661_00000000n, source: `${GUEST}: microcode revision of the host` },
    { index: 0xce, value: 0x8000_1400n, source: 'manual: SDM Vol. 4 Table 2-2 CEH (ratio 20); bit 31 read through KVM' },
    { index: 0xcf, value: 0x20n, source: 'SLD §1: bit 5, split-lock detection' },
    { index: 0xfe, value: 0xd0an, source: 'manual: SDM Vol. 3A §13.11.1: 10 variable ranges, fixed ranges, WC, SMRR' },
    { index: 0x10a, value: 0x40000000_0c08e0ebn, source: GUEST },
    { index: 0x1a0, value: 0x51801n, source: 'manual: SDM Vol. 4 Table 2-2 1A0H: fast strings, no BTS, no PEBS, EIST, MONITOR' },
  ],
  tscKhz: 2_000_000,
  instructionsPerMicrosecond: 2000,
  source: `${GUEST} (Amazon Linux, microcode 0x2b000661); what KVM masks: Intel SDM`,
  hasRealDump: true,
  omissions: [
    { what: 'SMX, PDCM, performance counters (leaf 0AH is zero)', because: 'not modelled' },
    { what: 'SGX, TME, PCONFIG, RDT, HRESET, HWP, HDC, thermal leaf apart from ARAT', because: 'not modelled' },
    { what: 'Intel PT and component PT', because: 'not modelled; Linux never manages the component (PERM §1)' },
    { what: 'UINTR and component UINTR', because: 'not modelled; masked in the guest, unused by Linux' },
    { what: 'TSX (HLE, RTM)', because: 'off in the guest reading too (TSX_CTRL)' },
  ],
}
