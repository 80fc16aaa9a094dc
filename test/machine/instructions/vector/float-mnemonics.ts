/** Mnemonics of floating-point arithmetic, conversion and comparison: they are defined, and tested, with the float instructions. */
export const FLOAT =
  /^V?(ADD|SUB|MUL|DIV|SQRT|MIN|MAX|RCP|RSQRT|CMP|U?COMI|ROUND|HADD|HSUB|DP|CVT|EXP2|FM|FNM|FC|GET|SCALE|RANGE|REDUCE|RNDSCALE|FIXUP|FPCLASS|4F|P4DP|BCST)/
