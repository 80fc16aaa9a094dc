/**
 * Where everything lies in the machine's one `WebAssembly.Memory`.
 *
 * Compiled code and TypeScript see the same bytes. All figures are byte offsets.
 *
 *   0x0000000  unused: a null pointer in compiled code lands here
 *   0x0001000  per-machine scratch (bounce buffers of TypeScript slow paths)
 *   0x0010000  register files of the logical processors, 64 KiB apart (x87, vector, opmask, tiles, MXCSR, PKRU, XCR0 ...)
 *   0x0110000  jump cache: linear RIP -> compiled entry
 *   0x0150000  entry counters of regions, u32 by table slot
 *   0x0800000  execution contexts, 2 KiB each (general registers, RIP, flags, segments, control registers)
 *   0x1000000  software TLBs, 8 KiB to 512 KiB each
 *   0x2000000  physical memory, hpa 0
 *
 * A world switch changes which execution context a logical processor runs; the register file stays where it is, as on
 * hardware, and is switched by software (XSAVES/XRSTORS).
 */

export const SCRATCH_BASE = 0x1000
export const SCRATCH_SIZE = 0xf000

/** Register file of logical processor n: PROCESSOR_BASE + n * PROCESSOR_STRIDE. */
export const PROCESSOR_BASE = 0x10000
export const PROCESSOR_STRIDE = 0x10000
export const MAX_PROCESSORS = 16

/** Jump cache: JUMP_ENTRIES entries of 16 bytes {rip u64, tag u32, target u32}. */
export const JUMP_CACHE_BASE = 0x110000
export const JUMP_CACHE_BITS = 14
export const JUMP_ENTRIES = 1 << JUMP_CACHE_BITS
export const JUMP_ENTRY_SIZE = 16

/** Entries left until a region is compiled again for speed: u32 for each of REGION_SLOTS table slots. */
export const REGION_COUNTER_BASE = 0x150000
export const REGION_SLOTS = 8192

/** Software TLBs (software-tlb.ts): entries of 32 bytes {readTag i64, writeTag i64, addend u32, hpaPage u32, pad u64}. */
export const TLB_POOL_BASE = 0x1000000
export const TLB_POOL_SIZE = 0x1000000
export const TLB_ENTRY_SIZE = 32

/** Execution context n: CONTEXT_BASE + n * CONTEXT_STRIDE. */
export const CONTEXT_BASE = 0x800000
export const CONTEXT_STRIDE = 0x800
export const CONTEXT_COUNT = 4096

/** Wasm offset of physical address 0. */
export const PHYSICAL_BASE = 0x2000000

// ==== execution context: offsets from its base ====================================================================

/** 16 general registers, 8 bytes each, in encoding order RAX RCX RDX RBX RSP RBP RSI RDI R8..R15. */
export const GPR = 0x000
export const RIP = 0x080
/** Lazy arithmetic flags: which operation set them last, and its values (see flags.ts). */
export const CC_OP = 0x088
/** RFLAGS without CF PF AF ZF SF OF (those are lazy), u32. Bit 1 always set. */
export const RFLAGS_REST = 0x08c
export const CC_A = 0x090
export const CC_B = 0x098
export const CC_RES = 0x0a0
/** Instructions that may still retire before compiled code must return, i32. */
export const BUDGET = 0x0a8
/** Wasm offset of the software TLB in use, u32. */
export const TLB_POINTER = 0x0ac
/** Tag of (translation context, mode) that jump-cache entries must carry, u32. */
export const CONTEXT_TAG = 0x0b0
/** (Entries of the software TLB in use - 1) * TLB_ENTRY_SIZE, u32. */
export const TLB_MASK = 0x0b4
/** Segment bases ES, CS, SS, DS, FS, GS as u64 each (encoding order, see SEGMENT). */
export const SEGMENT_BASE = 0x0c0
/** Wasm offset of the register file of the processor that runs this context, u32. */
export const REGISTER_FILE = 0x0f0
/** Code-generation mode the context is in (see mode.ts), u32. */
export const MODE = 0x0f4
/** Control state: u64 each, see CONTROL in execution-context.ts. 0x100..0x3ff */
export const CONTROL = 0x100
/** Segment registers, 16 bytes each {selector u16, -, limit u32, attributes u32 (VMX access-rights format), -}; bases: SEGMENT_BASE. */
export const SEGMENTS = 0x400
/** Bounce buffer of slow-path loads and stores of this context (256 bytes). */
export const BOUNCE = 0x500
export const BOUNCE_SIZE = 0x100
/** Spill room for compiled code. */
export const SPILL = 0x600

// ==== register file of a logical processor: offsets from its base ==================================================

/** 1 while MXCSR is in the state in which native float operations give the architectural result (see float/), u32. */
export const FLOAT_FAST = 0x0bc
export const MXCSR = 0x0f0
/** Opmask k0..k7, u64 each. */
export const OPMASK = 0x100
/**
 * x87/MMX: eight physical registers R0..R7 (not ST-relative) of 16 bytes: significand u64, sign+exponent u16, 6 pad bytes.
 * MMX register i is the significand of physical register i.
 */
export const X87_REGISTERS = 0x140
/** u16 each: control word, status word (TOP inside, bits 11..13). */
export const X87_FCW = 0x1c0
export const X87_FSW = 0x1c2
/** Abridged tag byte: bit i set = physical register i in use. u8. */
export const X87_FTW = 0x1c4
/** Last opcode u16, last instruction pointer u64, last data pointer u64. */
export const X87_FOP = 0x1c6
export const X87_FIP = 0x1c8
export const X87_FDP = 0x1d0
export const PKRU = 0x1d8
/** XCR0, IA32_XSS, IA32_XFD, IA32_XFD_ERR: low 32 bits each (the rest is always 0). */
export const XCR0 = 0x1dc
export const XSS = 0x1e0
export const XFD = 0x1e4
export const XFD_ERR = 0x1e8
/** Tiles that may hold something other than their initial zeros, a bit each, u32: not 0 makes XINUSE[18] 1. */
export const TILES_IN_USE = 0x1ec
/** IA32_U_CET, IA32_PL0_SSP .. IA32_PL3_SSP, u64 each: what XSAVES moves as CET_U and CET_S. */
export const U_CET = 0x200
export const PL0_SSP = 0x208
export const PL3_SSP = 0x220
/** AMX tile configuration as LDTILECFG loads it (64 bytes); palette 0 = initial. */
export const TILECFG = 0x380
/** 32 vector registers of 64 bytes: XMM = first 16 bytes, YMM = first 32. */
export const VECTOR = 0x400
export const VECTOR_STRIDE = 64
/** Eight tiles of 16 rows of 64 bytes. */
export const TILEDATA = 0x1000
export const TILE_STRIDE = 1024
/** MPX: BND0..BND3, 16 bytes each {lower bound u64, upper bound u64 in one's complement}; BNDCFGU and BNDSTATUS, u64 each. */
export const BNDREGS = 0x3800
export const BNDCSR = 0x3840
/** APX: R16..R31, u64 each. Only XSAVE and XRSTOR use them. */
export const EGPR = 0x3880
/** Component 20 of a synthetic CPU model, 256 bytes. Only XSAVE and XRSTOR use them. */
export const SYNTHETIC = 0x3900
/** Room of the tile dot products: 16 KiB. */
export const TILE_SCRATCH = 0x4000
/**
 * Operands and results of floating-point operations that run in TypeScript (instructions/float/slow-path.ts): A, B, C and
 * the result, 64 bytes each, then the mask and x87 details. 512 bytes.
 */
export const FLOAT_SCRATCH = 0x8000
/** Index of each segment register in SEGMENT_BASE and SEGMENTS (encoding order; LDTR and TR have no encoding). */
export const SEGMENT = { ES: 0, CS: 1, SS: 2, DS: 3, FS: 4, GS: 5, LDTR: 6, TR: 7 } as const
