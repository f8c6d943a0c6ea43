# Write OUT, a C file with the bytes of PAGE, in which the line CHART_JS is replaced by that file.
file(READ ${PAGE} page HEX)
file(READ ${CHART_JS} chart HEX)
string(HEX "/*CHART_JS*/" marker)
string(FIND "${page}" "${marker}" at)
if(at EQUAL -1)
  message(FATAL_ERROR "${PAGE} has no place for Chart.js")
endif()
string(HEX "</script" end)
string(FIND "${chart}" "${end}" inside)
if(NOT inside EQUAL -1)
  message(FATAL_ERROR "${CHART_JS} would end its own script element")
endif()
string(REPLACE "${marker}" "${chart}" page "${page}")
string(REGEX REPLACE "(..)" "0x\\1," bytes "${page}")
string(REGEX REPLACE "((0x..,)(0x..,)(0x..,)(0x..,)(0x..,)(0x..,)(0x..,)(0x..,))" "\\1\n" bytes "${bytes}")
file(WRITE ${OUT}
     "#include \"report/report_impl.h\"\n\n"
     "const unsigned char fq_report_page_bytes[] = {\n${bytes}};\n"
     "const size_t fq_report_page_size = sizeof fq_report_page_bytes;\n")
